#!/bin/sh
# Makes the namespace and the search attributes that Remit writes; may run again.
# TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE are read by the command itself.
set -eu

if ! temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
  temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "${RETENTION:-72h}"
fi

# A new namespace becomes visible to every part of the server within seconds.
attempt=1
until temporal operator search-attribute list >/dev/null 2>&1; do
  if [ "$attempt" -ge 30 ]; then
    echo "namespace $TEMPORAL_NAMESPACE did not become visible" >&2
    exit 1
  fi
  attempt=$((attempt + 1))
  sleep 2
done

known="$(temporal operator search-attribute list)"
for attribute in RemitRoot=Keyword RemitAgent=Keyword RemitDelegations=KeywordList RemitState=Keyword; do
  name="${attribute%=*}"
  case "$known" in
    *"$name"*) ;;
    *) temporal operator search-attribute create --name "$name" --type "${attribute#*=}" ;;
  esac
done
