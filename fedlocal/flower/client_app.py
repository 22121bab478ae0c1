"""ClientApp. It imports nothing heavy, since Flower starts a new process for every message."""

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedlocal.flower.node_request import node_request, worker_folder
from fedlocal.flower.worker import call

app = ClientApp()

# Imported where it runs: in this process, or in the node's worker.
ANSWER = "fedlocal.flower.handlers:answer"


@app.query()
def query(message: Message, context: Context) -> Message:
    """Return which share of the clients this node holds."""
    return _reply("query", message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Run the round of this node's members."""
    return _reply("train", message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Return the models of this node's members."""
    return _reply("evaluate", message, context)


def _reply(kind: str, message: Message, context: Context) -> Message:
    asked = node_request(kind, message, context)
    content, kept = call(worker_folder(context), ANSWER, asked)
    context.state = RecordDict(dict(kept))
    return Message(content, reply_to=message)
