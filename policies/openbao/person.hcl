# A person: signs with their own key, delegates and states, reads the registry, and can end what runs even with every
# worker down. Ending is all: nothing here mints, and nothing written here counts without a signature that verifies.

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }

path "transit/sign/{{identity.entity.id}}" {
  capabilities      = ["update"]
  denied_parameters = { key_version = [] }
}
path "transit/keys/{{identity.entity.id}}" { capabilities = ["read"] }

# The authority's public keys: what it signed can be verified.
path "transit/keys/remit-authority" { capabilities = ["read"] }
path "transit/keys/remit-token"     { capabilities = ["read"] }

# A fresh key to encrypt payloads with; reading what was encrypted takes more, reader.hcl.
path "transit/datakey/plaintext/remit-payloads" {
  capabilities      = ["update"]
  denied_parameters = { "*" = [] }
}

path "remit/data/*"             { capabilities = ["read"] }
path "remit/metadata/*"         { capabilities = ["list"] }
path "remit/data/delegations/*" { capabilities = ["create", "read"] }
path "remit/data/statements/*"  { capabilities = ["create", "read"] }
path "remit/data/epoch"         { capabilities = ["read", "update"] }
path "remit/delete/*"           { capabilities = ["deny"] }
path "remit/undelete/*"         { capabilities = ["deny"] }
path "remit/destroy/*"          { capabilities = ["deny"] }

path "remit-live/leases/*"   { capabilities = ["read", "list", "delete"] }
path "remit-live/cascades/*" { capabilities = ["create", "read", "list"] }
