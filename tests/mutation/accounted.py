"""The mutants that may survive: by module and change, why no test can or should notice them."""

from __future__ import annotations

_BASE64 = "base64url of a SHA-256 ends in A, E, I … or 8, never in X: the same text"
_CODEC = "another spelling of the same codec or of False"
_HINT = "chooses a hint for people"
_MESSAGE = "stands in messages"
_FASTER = "saves time; the answer is the same"
_NEVER_BOTH = "the other value is never used where this one is"

ACCOUNTED: dict[str, dict[str, str]] = {
    "presentation": {
        "access_token_claims: act: dict[str, Any] = None": "only asked whether it is empty, and there is an agent",
    },
    "policy.asking": {
        'Questions._slice: key = (principal, action, kind, name if name in self._named else "XXXX")': _NEVER_BOTH,
        "Questions._slice: self._slices.pop(next(iter(self._slices)), )": "two threads may take the same one out",
    },
    "policy.entities": {
        "Entities.__init__: self.catalogued = cedarpy.Entities.from_json_str(json.dumps(list(_catalogued(catalogue))),"
        " None)": "whatever is asked adds to it with the schema, which brings the action groups",
        "Entities.__init__: self.catalogued = cedarpy.Entities.from_json_str(json.dumps(list(_catalogued(catalogue))),"
        " )": "the same",
        'Entities.resource: raise UnknownName(f"there is no resource {name[:80]!r}" + (f" (did you mean {near!r}?)"'
        ' if (near) or True else ""))': _HINT,
        'Entities.resource: raise UnknownName(f"there is no resource {name[:80]!r}" + (f" (did you mean {near!r}?)"'
        ' if near else "XXXX"))': _HINT,
        "Entities.of_chain: if kept is not None and (kept[0] == chain.links):": _FASTER,
        "Entities.of_chain: if kept is not None and (kept[1] is chain.links or kept[0] == chain.links):": _FASTER,
        '_catalogued: -add("Tenant", tenant)': "what stands as a parent is there for Cedar all the same",
        '_catalogued: -add("Role", role)': "the same",
    },
    "policy.engine": {
        "PolicyEngine.may_approve: added = [self._task(None, requester), step]": (
            "the owner of a step's task: no policy can reach it from a step"
        ),
        '_digest: "catalogue": catalogue.model_dump(mode=None),': "a catalogue holds nothing but JSON: the same dump",
        '_digest: "catalogue": catalogue.model_dump(mode="XXjsonXX"),': "the same",
        '_digest: "catalogue": catalogue.model_dump(mode="JSON"),': "the same",
        '_digest: return urlsafe_b64encode(sha256(rfc8785.dumps(content)).digest()).rstrip(b"XX=XX").decode()': _BASE64,
    },
    "policy.delegable": {
        'check_delegable: raise _refused("a delegation names no action", None, right)': _HINT,
        'check_delegable: raise _refused("a delegation names no action", "XXXX", right)': _HINT,
        'check_delegable: raise _refused(f"{TOOL!r} would delegate everything", None, right)': _HINT,
        'check_delegable: raise _refused(f"{TOOL!r} would delegate everything", "XXXX", right)': _HINT,
        'check_delegable: raise _refused(f"no policy permits an agent any action of {name!r}", None, right)': _HINT,
        'check_delegable: raise _refused(f"{name!r} is not something a tool does", None, right)': _HINT,
        "_refused: near = nearest(name, right, cutoff=0.5) if (name) or True else None": _HINT,
    },
    "approving": {
        "Approving.verify: root=None,": "the root human is among the principals of the chain as well",
    },
    "deciding": {
        "Deciding.foresee: -await asyncio.sleep(0)": _FASTER,
        "Deciding.decide: refused: tuple[RemitError, ...] = None": _NEVER_BOTH,
        "Deciding.decide: bound = request = None": _NEVER_BOTH,
        'Deciding.decide: bound = request = "XXXX"': _NEVER_BOTH,
    },
    "step": {
        "shown: text = json.dumps(value, ensure_ascii=None, sort_keys=True)": _CODEC,
        '_escaped: units = character.encode("UTF-16-BE", "surrogatepass")': _CODEC,
        '_encode: return urlsafe_b64encode(sha256(data).digest()).rstrip(b"XX=XX").decode()': _BASE64,
    },
    "standing": {
        "Standing._principal: statements = await self._told(principal, self._registry.principal(principal), links=None,"
        " epoch=epoch)": "the links of a chain are not asked for where the subject is a principal",
        "Standing._principal: return Status.REVOKED, 1": "what is revoked is revoked, whenever it was delegated",
    },
    "credentials.mint": {
        'Mint._lease: address = self._postgres.get(profile.path.split("/", )[0])': "the part before the first slash",
        'Mint._lease: address = self._postgres.get(profile.path.split("/", 2)[0])': "the same",
        'Mint._lease: ttl = int(made.get("lease_duration"))': "OpenBao always says how long, 0 for not at all",
    },
    "credentials.ending": {
        "Ending.release: await self._mint.end(lease, forget=None)": _CODEC,
    },
    "destroying": {
        "Destroying.under: pending: dict[str, str] = None": _NEVER_BOTH,
        "Destroying.under: found = [lease for lease in recorded if stands_under(lease.facts, about)]": (
            "destroys again what is dead; " + _FASTER
        ),
    },
    "chains": {
        "Chains.down_to: return await self.load(Reference(jti, chain_digest(links)), epoch=epoch, timely=None)": _CODEC,
    },
    "principals": {
        "Principal.parse: match = _SPIFFE.fullmatch(spiffe_id) if isinstance(spiffe_id, str) else None": _FASTER,
        "Principal.parse: match = _SPIFFE.fullmatch(spiffe_id) if isinstance(spiffe_id, str) and len(spiffe_id) < 256"
        " else None": "the form itself allows 185 characters",
        "Principal.parse: match = _SPIFFE.fullmatch(spiffe_id) if isinstance(spiffe_id, str) and len(spiffe_id) <= 257"
        " else None": "the same",
    },
    "chain": {
        '_check_parent_hash: if not compare_digest(link.par_hash or "XXXX", parent_hash(parent)):': (
            "neither is a SHA-256"
        ),
        '_digest: return urlsafe_b64encode(sha256(data).digest()).rstrip(b"XX=XX").decode()': _BASE64,
    },
    "delegation": {
        '_scope: grant = Claims(details[0], document="chain", required=_GRANT, )': _MESSAGE,
        '_scope: grant = Claims(details[0], document="chain", required=_GRANT, path="XXauthorization_details.XX")': (
            _MESSAGE
        ),
        '_scope: grant = Claims(details[0], document="chain", required=_GRANT, path="AUTHORIZATION_DETAILS.")': (
            _MESSAGE
        ),
    },
    "jose": {
        "LocalSigner.from_pem: except (ValueError, TypeError, ):": "what is supported is the build's",
        'public_jwk: "x": _encode(point.x.to_bytes(32, )),': "big is what Python takes",
        'public_jwk: "y": _encode(point.y.to_bytes(32, )),': "the same",
        'sign: text = json.dumps(dict(claims), ensure_ascii=None, separators=(",", ":"))': _CODEC,
        'sign: payload = text.encode("UTF-8", "surrogatepass")': _CODEC,
        "_coordinate: raw = _bytes(text) if (len(text) == 43) or True else None": "32 bytes are 43 characters",
        "_coordinate: if raw is None:": "the same",
        '_bytes: data = urlsafe_b64decode(text + "=" * (+len(text) % 4))': "more padding than needed is ignored",
        '_encode: return urlsafe_b64encode(data).rstrip(b"XX=XX").decode()': (
            "an object ends in } and so in 9 or fQ, the rest in zero bits: nothing ends in X"
        ),
    },
    "claims": {
        'Claims.__init__: path: str = "XXXX",': _MESSAGE,
        "_principal: return _parsed(value) if (type(value) is str) and False else Principal.parse(value)": _FASTER,
        "_principal: return _parsed(value) if type(None) is str else Principal.parse(value)": _FASTER,
        "_principal: return _parsed(value) if type(value) is str else Principal.parse(None)": "both are refused",
    },
    "strictjson": {
        'loads: text = data.decode("UTF-8")': _CODEC,
        '_check_depth: if (text.count("[") + text.count("{") <= MAX_DEPTH) and False:': _FASTER,
        '_check_depth: if text.count("[") + text.count("{") < MAX_DEPTH:': _FASTER,
        '_check_depth: if match[0] in "XX[{XX":': "no match holds an X outside a string",
        '_check_depth: elif match[0] in "XX]}XX":': "the same",
        '_check_surrogates: json.dumps(value, ensure_ascii=None).encode("utf-8")': _CODEC,
        '_check_surrogates: json.dumps(value, ensure_ascii=False).encode("UTF-8")': _CODEC,
        "_integer: if len(digits) > 18 or abs(number := int(digits)) > MAX_INTEGER:": (
            "what has 18 digits is too large as a number, too"
        ),
    },
}
