"""`spanway top`: finds out whether Spanway answers, then shows what it says."""

import asyncio
from collections.abc import Mapping

from ingress_controller.arguments import SettingsError, StartError
from ingress_controller.peers.peer import missing
from ingress_controller.readable import printable
from ingress_controller.top.client import AdminClient, QuestionError, TopError
from ingress_controller.top.text import request_cells, request_columns, summary, table

ONCE_ROWS = 100  # of the plain table, where nothing is said


def top(client: AdminClient, question: Mapping[str, str], *, once: bool, interval_s: float) -> int:
    """Shows live requests until the user has seen enough; with `once` prints them and returns.

    Raises:
        StartError: Spanway cannot be asked. SettingsError: it refuses the question.
    """
    try:
        return asyncio.run(_top(client, question, once=once, interval_s=interval_s))
    except QuestionError as err:
        raise SettingsError(str(err)) from err
    except TopError as err:
        raise StartError(str(err)) from err


async def _top(
    client: AdminClient, question: Mapping[str, str], *, once: bool, interval_s: float
) -> int:
    async with client:
        if once:
            live = await client.live({"limit": str(ONCE_ROWS), **question})
            print(table(request_columns(live), request_cells(live)))
            print("\n" + "\n".join((summary(live), *map(printable, missing(live.peers)))))
            return 0
        try:
            from ingress_controller.top.app import TopApp  # noqa: PLC0415 - an extra
        except ImportError as err:
            raise StartError(
                "The screen needs Textual; install spanway[top], or use --once."
            ) from err
        first = await client.live(question)
        await TopApp(client, first, question, interval_s).run_async()
        return 0
