# The reaper, for the authority: it looks logins and leases up, lists those OpenBao has given up on, and reads the one
# user that may end expired database users. The last two parts are made for each path that mints and each database mount.

path "auth/token/lookup-accessor" { capabilities = ["update"] }

path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/leases" { capabilities = ["read", "sudo"] }

path "sys/leases/lookup/${path}/*" { capabilities = ["list", "sudo"] }

path "${mount}/creds/sweep" { capabilities = ["read"] }
