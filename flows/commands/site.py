"""`t2i site`."""

import time

import typer

from flows.commands.step import command_app
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from flows.shell.terminal import say
from t2i_core.samples.site import SiteConfig, serve_site

app = command_app()


@app.command(
    "site", cls=PlainCommand, epilog=examples("t2i site", "t2i site --source emoji --port 8080 --num-pictures 100")
)
@config_options(SiteConfig)
def site_command(config: SiteConfig) -> None:
    """Serve the built-in site on loopback until interrupted."""
    with serve_site(config) as site:
        say(f"{site.num_pictures:,} pictures at {site.url} (Ctrl-C ends it)")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            typer.echo("")
