# Ending leases and logins, for people and the authority; the second part is made once for each mount that mints.
# The placeholder is that mount.

path "auth/token/revoke-accessor" { capabilities = ["update"] }

path "sys/leases/revoke/${mount}/creds/*" { capabilities = ["update"] }
