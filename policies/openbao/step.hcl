# One step, made for each credential profile: it reads the one path it was minted for, keeps that alive, ends itself.
# The placeholder is the profile's path.

path "${path}" { capabilities = ["read"] }

path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self"  { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }

path "sys/leases/renew" {
  capabilities       = ["update"]
  allowed_parameters = { "lease_id" = ["${path}/*"], "increment" = [] }
}
