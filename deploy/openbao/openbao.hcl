# OpenBao: raft on one node, TLS 1.3 only, unsealed and initialised by itself.
# The unseal key lies on a volume beside the data: it protects backups, not this host. In production use a KMS seal.
ui = false

storage "raft" {
  path = "/openbao/file"
  node_id = "openbao-1"
  performance_multiplier = 1
}

cluster_addr = "https://openbao:8201"
api_addr = "https://openbao:8200"
default_lease_ttl = "5m"
max_lease_ttl = "24h"

listener "tcp" {
  address = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_cert_file = "/run/remit/openbao/server.pem"
  tls_key_file = "/run/remit/openbao/server.key"
  tls_min_version = "tls13"
}

seal "static" {
  current_key_id = "compose-1"
  current_key = "file:///run/remit/openbao/unseal.key"
}

audit "file" "file" {
  options {
    file_path = "/openbao/logs/audit.log"
    hmac_accessor = "false"
    mode = "0600"
  }
}

# These requests run once, at the first start. There is no root token and no password: the operator logs in with an
# Ed25519 key, for ten minutes at a time, and `remit bootstrap` does everything else.
initialize "operator" {
  request "policy" {
    operation = "update"
    path = "sys/policies/acl/admin"
    data = { policy = "path \"*\" { capabilities = [\"create\",\"read\",\"update\",\"patch\",\"delete\",\"list\",\"sudo\"] }" }
  }
  request "mount" {
    operation = "update"
    path = "sys/auth/bootstrap"
    data = { type = "jwt" }
  }
  request "config" {
    operation = "update"
    path = "auth/bootstrap/config"
    data = { bound_issuer = "remit-operator", jwt_supported_algs = ["EdDSA"], jwt_validation_pubkeys = { eval_source = "file", eval_type = "string", path = "/run/remit/public/operator.pub" } }
  }
  request "role" {
    operation = "update"
    path = "auth/bootstrap/role/admin"
    data = { role_type = "jwt", user_claim = "sub", bound_audiences = ["openbao"], bound_subject = "operator", token_policies = ["admin"], token_ttl = "10m", token_max_ttl = "10m" }
  }
}
