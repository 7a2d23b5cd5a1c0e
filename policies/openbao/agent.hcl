# An agent: signs with its own key, hands on what it was handed, reads the registry. It can stop nothing and mint nothing.

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }

path "transit/sign/{{identity.entity.id}}" {
  capabilities      = ["update"]
  denied_parameters = { key_version = [] }
}
path "transit/keys/{{identity.entity.id}}" { capabilities = ["read"] }

path "remit/data/*"             { capabilities = ["read"] }
path "remit/metadata/*"         { capabilities = ["list"] }
path "remit/data/delegations/*" { capabilities = ["create", "read"] }
path "remit/delete/*"           { capabilities = ["deny"] }
path "remit/undelete/*"         { capabilities = ["deny"] }
path "remit/destroy/*"          { capabilities = ["deny"] }
