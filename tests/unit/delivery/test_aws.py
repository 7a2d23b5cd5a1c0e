"""AWS: botocore signs each request with the key of the attempt that sends it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from remit.delivery import aws
from remit.errors import Refused

from .conftest import SECRET, Site, attempt

KEY = {"access_key": "AKIAEXAMPLE1", "secret_key": SECRET, "session_token": "session-canary-112358"}
OLDER = {"access_key": "AKIAEXAMPLE2", "secret_key": "another-secret-271", "security_token": "security-canary-1"}
USER = {"access_key": "AKIAEXAMPLE3", "secret_key": "a-users-secret-314"}
CONFIG = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})


@pytest.fixture
def s3(sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client made outside any attempt, where the worker has a key of its own in its environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWORKER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-workers-own-secret")
    made = boto3.Session(botocore_session=aws.session(), region_name="eu-central-1")
    client = made.client("s3", endpoint_url=sites[0].url, config=CONFIG)
    yield client
    client.close()


def signature(seen: dict[str, str], *, secret: str, method: str, path: str) -> str:
    """Return what SigV4 says, computed from its specification."""
    fields = dict(part.strip().split("=", 1) for part in seen["authorization"].split(" ", 1)[1].split(","))
    _, day, region, service, last = fields["Credential"].split("/")
    signed = fields["SignedHeaders"].split(";")
    canonical = (
        "\n".join([method, quote(path), "", *(f"{name}:{seen[name]}" for name in signed), "", ";".join(signed)])
        + "\n"
        + seen["x-amz-content-sha256"]
    )
    scope = f"{day}/{region}/{service}/{last}"
    told = "\n".join(["AWS4-HMAC-SHA256", seen["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, last):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, told.encode(), "sha256").hex()


@pytest.mark.parametrize("values", [KEY, OLDER, USER], ids=["session_token", "security_token", "user"])
async def test_a_request_is_signed_with_the_attempts_key(s3: Any, sites: Any, values: dict[str, str]) -> None:
    with attempt(**values):
        await asyncio.to_thread(s3.put_object, Bucket="reports", Key="delays", Body=b"1")
    (seen,) = sites[0].seen
    assert f"Credential={values['access_key']}/" in seen["authorization"]
    token = values.get("session_token", values.get("security_token"))
    assert seen.get("x-amz-security-token") == token
    right = signature(seen, secret=values["secret_key"], method="PUT", path="/reports/delays")
    assert seen["authorization"].endswith(f"Signature={right}")


async def test_one_client_serves_concurrent_attempts(s3: Any, sites: Any) -> None:
    async def one(number: int) -> None:
        with attempt(access_key=f"AKIA{number}", secret_key=f"secret-number-{number}"):
            await asyncio.to_thread(s3.put_object, Bucket="reports", Key=str(number), Body=b"1")

    await asyncio.gather(*(one(number) for number in range(8)))
    assert len({one["authorization"].split("/")[0] for one in sites[0].seen}) == 8


async def test_outside_an_attempt_nothing_is_sent_and_nobody_else_is_asked(s3: Any, sites: Any) -> None:
    with attempt(**KEY):
        await asyncio.to_thread(s3.put_object, Bucket="reports", Key="a", Body=b"1")
    sites[0].seen.clear()
    with pytest.raises(Refused) as refused:
        await asyncio.to_thread(s3.put_object, Bucket="reports", Key="a", Body=b"1")
    assert refused.value.code == "credential.none"
    assert sites[0].seen == []


async def test_transfers_stay_on_the_attempts_thread(s3: Any, sites: Any, tmp_path: Any) -> None:
    (tmp_path / "a").write_bytes(b"1")
    with attempt(**KEY):
        with pytest.raises(Refused):
            await asyncio.to_thread(s3.upload_file, str(tmp_path / "a"), "reports", "a")
        assert sites[0].seen == []
        alone = TransferConfig(use_threads=False)
        await asyncio.to_thread(s3.upload_file, str(tmp_path / "a"), "reports", "a", Config=alone)
    assert len(sites[0].seen) == 1


def test_it_is_the_only_provider_and_holds_nothing() -> None:
    session = aws.session()
    with attempt(**KEY):
        found = session.get_credentials()
        assert tuple(found.get_frozen_credentials())[:3] == tuple(KEY.values())
    assert found.method == "remit"
    assert vars(found) == {"method": "remit", "account_id": None}
