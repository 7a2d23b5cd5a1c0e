# The authority: keeps the registry, signs with its own two keys, ends leases, locks stopped principals out. It can mint
# nothing for a step by itself: what a step may read opens only to a login with a signed step token.

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }

path "transit/sign/remit-authority" {
  capabilities      = ["update"]
  denied_parameters = { key_version = [] }
}
path "transit/sign/remit-token" {
  capabilities      = ["update"]
  denied_parameters = { key_version = [] }
}
path "transit/keys/remit-authority" { capabilities = ["read"] }
path "transit/keys/remit-token"     { capabilities = ["read"] }

# Payloads: a fresh key to encrypt with, and the keys others were encrypted with.
path "transit/datakey/plaintext/remit-payloads" {
  capabilities      = ["update"]
  denied_parameters = { "*" = [] }
}
path "transit/decrypt/remit-payloads" {
  capabilities       = ["update"]
  allowed_parameters = { "ciphertext" = [], "batch_input" = [] }
}

path "remit/data/*"             { capabilities = ["read"] }
path "remit/metadata/*"         { capabilities = ["list"] }
path "remit/data/delegations/*" { capabilities = ["create", "read"] }
path "remit/data/confirmed/*"   { capabilities = ["create", "read"] }
path "remit/data/approvals/*"   { capabilities = ["create", "read"] }
path "remit/data/once/*"        { capabilities = ["create", "read"] }
path "remit/data/audit/*"       { capabilities = ["create", "read"] }
path "remit/data/runs/*"        { capabilities = ["create", "read", "update"] }
path "remit/data/budget/*"      { capabilities = ["create", "read", "update"] }
path "remit/data/epoch"         { capabilities = ["read", "update"] }
path "remit/delete/*"           { capabilities = ["deny"] }
path "remit/undelete/*"         { capabilities = ["deny"] }
path "remit/destroy/*"          { capabilities = ["deny"] }

path "remit-live/leases/*"   { capabilities = ["create", "read", "update", "delete", "list"] }
path "remit-live/cascades/*" { capabilities = ["read", "list", "delete"] }

# A stopped principal is locked out, a reinstated one let in again; nothing else of an identity can be changed here.
path "identity/entity/id/+" {
  capabilities       = ["update"]
  allowed_parameters = { "disabled" = [] }
}
path "transit/keys/+/soft-delete"         { capabilities = ["delete"] }
path "transit/keys/+/soft-delete-restore" { capabilities = ["update"] }
