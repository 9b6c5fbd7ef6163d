# Operators manage the providers' keys.
path "ticketflow/data/providers/*" {
  capabilities = ["create", "update", "read", "delete"]
}
path "ticketflow/metadata/providers/*" {
  capabilities = ["create", "update", "read", "delete", "list"]
}
