#!/bin/sh
# Starts OpenBao; its unseal key is made at the first start.
set -eu
umask 077
data=/openbao/file
mkdir -p "$data/raft"
if [ ! -s "$data/unseal.key" ]; then
    head -c 32 /dev/urandom >"$data/unseal.key.new"
    mv "$data/unseal.key.new" "$data/unseal.key"
fi
exec bao server -config="$(dirname "$0")/openbao.hcl"
