"""Evidence: what happened, for somebody who trusts nothing but public keys.

- `exporting` gathers one task's evidence into one file; everything else here decides purely, without a server.
- Nothing in an export is believed: keys come from elsewhere, records count by their chain and a signed head, chains,
  approvals and statements by their own signatures.
- Whatever does not hold is a `Finding` with a stable code ``evidence.…`` that says where.
"""
