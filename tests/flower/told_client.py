"""fedlocal's ClientApp; the file `told` of its node gets a line about who answers a message."""

import json
import os

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedlocal.flower.client_app import app as ours
from fedlocal.flower.worker_node import node_process

app = ClientApp()


def answer(message: Message, context: Context) -> Message:
    about = [os.getpid(), os.getppid(), node_process().pid, np.random.random()]
    with open(str(context.node_config["told"]), "a") as file:
        print(json.dumps(about), file=file)
    return ours(message, context)


app.query()(answer)
app.train()(answer)
app.evaluate()(answer)
