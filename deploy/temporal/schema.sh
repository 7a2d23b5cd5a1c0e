#!/bin/sh
# Makes Temporal's two databases and brings their schemas up to this version; may run again.
set -eu

SQL_PASSWORD="$(cat "$SQL_PASSWORD_FILE")"
export SQL_PASSWORD
schema=/etc/temporal/schema/postgresql/v12

for store in temporal temporal_visibility; do
  folder="${store#temporal_}"
  temporal-sql-tool --db "$store" create
  temporal-sql-tool --db "$store" setup-schema -v 0.0
  temporal-sql-tool --db "$store" update-schema -d "$schema/$folder/versioned"
done
