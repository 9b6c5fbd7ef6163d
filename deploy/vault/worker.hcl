# Workers read the providers' keys, and nothing else.
path "ticketflow/data/providers/*" {
  capabilities = ["read"]
}
