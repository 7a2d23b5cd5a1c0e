# A reader of encrypted payloads, besides what a person may do: unwraps the keys they were encrypted with.

path "transit/decrypt/remit-payloads" {
  capabilities       = ["update"]
  allowed_parameters = { "ciphertext" = [], "batch_input" = [] }
}
