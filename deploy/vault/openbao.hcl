# One node that unseals itself. What protects it is who can read its volume: the unseal key lies beside the data.
ui = false
storage "raft" {
  path = "/openbao/file/raft"
  node_id = "compose"
  performance_multiplier = 1
}
seal "static" {
  current_key_id = "1"
  current_key = "file:///openbao/file/unseal.key"
}
listener "tcp" {
  address = "0.0.0.0:8200"
  cluster_address = "127.0.0.1:8201"
  tls_disable = true
}
api_addr = "http://vault:8200"
cluster_addr = "http://127.0.0.1:8201"
