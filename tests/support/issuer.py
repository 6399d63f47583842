"""An OpenID Connect issuer on this host: it publishes its keys over HTTP and signs whatever a test wants signed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from forebay.domain.access import Role
from forebay.domain.issuer import TrustedIssuer

AUDIENCE = "forebay"
DISCOVERY, KEY_SET = "/realm/.well-known/openid-configuration", "/realm/keys"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Issuer:
    """A context manager. `keys`: by name, those published now. `asked`: the paths that were asked for."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {"rsa-1": rsa_key(), "ec-1": ec.generate_private_key(ec.SECP256R1())}
        self.more_members: list[Any] = []
        self.asked: list[str] = []
        self.documents: dict[str, Any] = {}
        self.status = 200
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                content = json.dumps(issuer._document(self.path)).encode()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/realm"
        self._thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Issuer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _document(self, path: str) -> Any:
        usual = {DISCOVERY: {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}, KEY_SET: {"keys": self._members()}}
        return (usual | self.documents).get(path, {})

    def _members(self) -> list[Any]:
        return [*self.more_members, *(public(key) | {"kid": name, "use": "sig"} for name, key in self.keys.items())]

    def trusted(self, **more: Any) -> TrustedIssuer:
        usual = {
            "issuer": self.url,
            "audience": AUDIENCE,
            "unencrypted": True,
            "roles": {"staff": [Role.VIEWER], "capacity": [Role.REQUESTER, Role.OPERATOR]},
        }
        return TrustedIssuer.model_validate(usual | more)

    def claims(self, now: datetime, **more: Any) -> dict[str, Any]:
        """A value of None leaves the claim out."""
        usual = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "zoe",
            "exp": int((now + timedelta(minutes=5)).timestamp()),
            "groups": ["staff"],
        }
        return {name: value for name, value in (usual | more).items() if value is not None}

    def token(self, now: datetime, key: str = "rsa-1", **more: Any) -> str:
        algorithm = "RS256" if isinstance(self.keys[key], rsa.RSAPrivateKey) else "ES256"
        return jwt.encode(self.claims(now, **more), self.keys[key], algorithm, headers={"kid": key})


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def public(key: Key) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
