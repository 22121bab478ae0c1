"""Query of a SuperLink's software versions and clock."""

import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import NamedTuple

from fedlocal.flower.deploy.gate import ABOUT


class About(NamedTuple):
    """Description of a SuperLink.

    software: Version by name.
    time: Its clock, in seconds since 1970.
    """

    software: dict[str, str]
    time: float


def ask(host: str, port: int, ca: Path | None, timeout: float = 5.0) -> About:
    """Query a running SuperLink.

    Args:
        host: Name or address.
        port: Its port.
        ca: Authority that must have signed its certificate; None for no encryption.
        timeout: Seconds for each step.

    Raises:
        OSError: No answer, or ssl.SSLError: a certificate of another authority.
        ValueError: Another program answers.
    """
    if ca is None:
        connection = HTTPConnection(host, port, timeout=timeout)
    else:
        context = ssl.create_default_context(cafile=str(ca))
        connection = HTTPSConnection(host, port, timeout=timeout, context=context)
    try:
        connection.request("GET", ABOUT)
        answer = connection.getresponse()
        content = json.loads(answer.read(100_000))
        return About(dict(content["software"]), float(content["time"]))
    except ssl.SSLError:
        raise
    except (HTTPException, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"what answers at port {port} of {host} is no SuperLink that fedlocal-deploy started"
        ) from error
    finally:
        connection.close()
