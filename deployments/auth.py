"""Makes the password of the Prefect server on this machine, once, and tells it.

Without one, a web page open in the user's browser, or any other user of the machine, could have the worker run
anything. It goes into the user's own Prefect profile, which nobody else can read, and which the server, the worker,
`prefect` and `t2i` all look into; the UI asks for it.
"""

import argparse
import secrets
import sys
from pathlib import Path

from prefect.settings import PREFECT_SERVER_API_AUTH_STRING, get_current_settings
from prefect.settings.profiles import update_current_profile

# The UI under both of its names; no other page may ask this server anything.
ORIGINS = "http://127.0.0.1:4200,http://localhost:4200"


def main() -> int:
    """Make it unless there is one, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quiet", action="store_true", help="do not print it, as in a service's log")
    args = parser.parse_args()
    password = PREFECT_SERVER_API_AUTH_STRING.value() or make_password()
    profiles = get_current_settings().profiles_path
    if not args.quiet:
        print(f"the password, for the UI too: {password}")
        print(f"It is kept in {profiles}. Elsewhere: export PREFECT_API_AUTH_STRING=... Start a running server again.")
    return 0


def make_password() -> str:
    """Make one, and write it where only this user can read it."""
    password = f"t2i:{secrets.token_urlsafe(32)}"
    path = Path(get_current_settings().profiles_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    update_current_profile(
        {
            "PREFECT_SERVER_API_AUTH_STRING": password,
            "PREFECT_API_AUTH_STRING": password,
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ORIGINS,
        }
    )
    return password


if __name__ == "__main__":
    sys.exit(main())
