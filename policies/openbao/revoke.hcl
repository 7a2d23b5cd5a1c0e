# Ending leases and logins, for people and the authority; the second part is made once for each mount that mints.
# ${mount} is that mount.

path "auth/token/revoke-accessor" { capabilities = ["update"] }

path "sys/leases/revoke/${mount}/creds/*" { capabilities = ["update"] }
