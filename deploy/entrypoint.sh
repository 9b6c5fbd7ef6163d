#!/bin/sh
# Becomes the command given. Where CREDENTIALS_FILE names a file, its settings are added to the environment first: so
# credentials that are made at the first start stand neither in the compose file nor in what `docker inspect` shows.
set -eu
if [ -n "${CREDENTIALS_FILE:-}" ]; then
    set -a
    . "$CREDENTIALS_FILE"
    set +a
fi
exec "$@"
