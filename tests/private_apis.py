"""For each row of decision 0012: a check that the API is there and does what is counted on."""

import atexit
import inspect
import re
import threading
from pathlib import Path

import flwr
import pytest
import torch
import uvicorn
from flwr.app import Metadata
from torch import nn

from fedlocal.flower import flower_internals
from fedlocal.flower.deploy.gate import FOR_NODES
from fedlocal.objective import keyed_random
from fedlocal.utils import torch_private

FLOWER = Path(flwr.__file__).parent


def traced():
    held = torch.tensor([2.0])
    graph = torch_private.trace(lambda x: [x * held], [torch.ones(1)])
    assert graph(torch.tensor([3.0]))[0] == 6
    with pytest.raises(Exception, match=r"data-dependent|DataDependent"):
        torch_private.trace(lambda x: [x if x.sum() > 0 else -x], [torch.ones(1)])


def dispatched():
    class Seen(torch_private.OperationMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            names.append(str(operation.overloadpacket))
            return operation(*args, **(kwargs or {}))

    names = []
    with Seen():
        torch.ones(2).add_(1)
    assert "aten.add_" in names


def skipped():
    parent = torch_private.OperationMode.__mro__[1]
    assert isinstance(inspect.getattr_static(parent, "_should_skip_dynamo"), classmethod)


def schemas():
    assert torch_private.argument_names(torch.ops.aten.dropout.default) == ["input", "p", "train"]
    assert torch_private.writes(torch.ops.aten.add_.Tensor)
    assert not torch_private.writes(torch.ops.aten.add.Tensor)
    assert torch_private.written(torch.ops.aten.add_.Tensor) == [0]
    assert torch_private.written(torch.ops.aten.add.Tensor) == []


def decomposes():
    table = torch_private.decompositions()
    assert {torch.ops.aten.huber_loss.default, torch.ops.aten.addcmul.default} <= table.keys()
    assert torch.ops.aten.nll_loss_forward.default not in table
    halved = table[torch.ops.aten.huber_loss.default](torch.ones(2), torch.zeros(2))
    assert halved == 0.5


def held():
    model = nn.BatchNorm1d(2)
    parameters, buffers = torch_private.tensor_dicts(model)
    assert {*parameters} == {"weight", "bias"} and "running_mean" in buffers
    parameters["weight"] = torch.full((2,), 7.0)
    assert model.weight[0] == 7
    assert {*torch_private.TENSOR_DICTS} <= vars(model).keys()


def hooks():
    plain, hooked, later = (nn.Parameter(torch.ones(1)) for _ in range(3))
    hooked.register_hook(lambda grad: grad)
    later.register_post_accumulate_grad_hook(lambda p: None)
    assert [torch_private.has_gradient_hook(p) for p in (plain, hooked, later)] == [0, 1, 1]


def refuses_values():
    with pytest.raises(torch_private.UNTRACEABLE):
        torch_private.trace(lambda x: x * float(x.sum()), [torch.ones(3)])


def viewed():
    assert str(torch_private.UNSAFE_VIEW) == "aten._unsafe_view.default"
    graph = torch_private.trace(lambda x: [x.double()], [torch.ones(2)])
    assert torch_private.TO_COPY in {node.target for node in graph.graph.nodes}


def compiles():
    from torch._inductor import standalone_compile

    assert {"gm", "example_inputs", "dynamic_shapes"} <= {
        *inspect.signature(standalone_compile).parameters
    }


def functional():
    names = {name for name in vars(nn.functional) if name.startswith("has_torch")}
    assert {"has_torch_function_unary", "has_torch_function_variadic"} <= names
    assert callable(keyed_random._unchecked(nn.functional.dropout))


def message(run_id=5):
    from flwr.app import Message, RecordDict

    with flower_internals.server_identity(run_id):
        return Message(RecordDict(), 9, "train")


def made():
    metadata = Metadata(1, "id", 2, 3, "", "", 1.0, 1.0, "train")
    copy = flower_internals.make_message(metadata, message().content, None)
    assert copy.metadata is metadata and copy.has_content()


def codes():
    names = {"CLIENT_APP_CRASHED", "CLIENT_APP_RAISED_EXCEPTION", "LOAD_CLIENT_APP_EXCEPTION"}
    assert len({getattr(flower_internals.ErrorCode, name) for name in names}) == 3
    assert flower_internals.SUPERLINK_NODE_ID == 1


def validated():
    assert "empty `metadata.message_id`" in flower_internals.validate_message(message(), False)


def runs():
    assert flower_internals.Run.create_empty(7).run_id == 7


def identity():
    assert message().metadata.run_id == 5
    assert message().metadata.src_node_id == flower_internals.SUPERLINK_NODE_ID


def named():
    one = flower_internals.name_by_content(message())
    assert one.metadata.message_id == one.object_id != ""


def lost():
    text = (FLOWER / "server/superlink/linkstate/utils.py").read_text()
    assert "def create_message_error_unavailable_ins_message(\n    reply_to_message_id: str" in text
    assert "def create_message_error_unavailable_res_message(\n    ins_metadata: Metadata" in text


def clock():
    text = (FLOWER / "supernode/start_client_internal.py").read_text()
    assert "import time\n" in text and "time.sleep(3)" in text


def poll():
    text = (FLOWER / "supercore/superexec/run_superexec.py").read_text()
    assert '"FLWR_SUPEREXEC_TASK_POLL_INTERVAL"' in text


def expiry():
    text = (FLOWER / "supercore/state/schema/linkstate_models.py").read_text()
    table = text.partition('__tablename__ = "node"')[2].partition("__tablename__")[0]
    assert "online_until:" in table and "node_id:" in table


def let_in():
    assert '"SuperNode ID: %s"' in (FLOWER / "supernode/start_client_internal.py").read_text()


def registered():
    assert "registered successfully" in (FLOWER / "cli/supernode/register.py").read_text()
    assert "SuperLink is unavailable" in (FLOWER / "cli/utils.py").read_text()
    handlers = FLOWER / "superlink/servicer/control/control_handlers.py"
    assert "Public key already in use" in handlers.read_text()


def fleet():
    text = (FLOWER / "superlink/routers/fleet/router.py").read_text()
    assert 'prefix="/v1/fleet"' in text
    names = re.findall(r'@router\.\w+\(\s*"([^"]+)"', text)
    assert "/pull-messages" in names
    assert all(FOR_NODES.fullmatch(f"/v1/fleet{name}".encode()) for name in names)


def serving():
    assert "Uvicorn running on" in Path(inspect.getfile(uvicorn.Server)).read_text()


def launching():
    from hydra.core.utils import JobReturn, run_job, setup_globals

    given = {"task_function", "config", "job_dir_key", "job_subdir_key", "hydra_context"}
    assert given <= {*inspect.signature(run_job).parameters}
    assert hasattr(JobReturn(), "overrides") and not inspect.signature(setup_globals).parameters


def placed():
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    with pytest.raises(InstantiationException, match="full_key: inner"):
        instantiate(
            {"inner": {"_target_": "math.sqrt", "_args_": [-1]}, "_target_": "builtins.dict"}
        )


def ending():
    assert callable(threading._shutdown) and callable(atexit._run_exitfuncs)


CHECKS = {
    "torch.utils._python_dispatch.TorchDispatchMode": dispatched,
    "TorchDispatchMode._should_skip_dynamo": skipped,
    "OpOverload._schema": schemas,
    "Module._parameters": held,
    "Tensor._backward_hooks": hooks,
    "torch.fx.experimental.proxy_tensor.make_fx": traced,
    "torch._subclasses.fake_tensor.DataDependentOutputException": refuses_values,
    "torch.ops.aten._unsafe_view": viewed,
    "torch.ops.aten._to_copy": viewed,
    "torch._decomp.core_aten_decompositions": decomposes,
    "torch._inductor.standalone_compile": compiles,
    "has_torch_function": functional,
    "flwr.app.message.make_message": made,
    "flwr.common.constant.ErrorCode": codes,
    "flwr.server.utils.validate_message": validated,
    "flwr.supercore.run.Run": runs,
    "flwr.supercore.task_identity.TaskIdentity": identity,
    'Metadata.__dict__["_message_id"]': named,
    "flwr.server.superlink.linkstate.utils.create_message_error_unavailable_ins_message": lost,
    "flwr.supernode.start_client_internal": clock,
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": poll,
    "online_until": expiry,
    "SuperNode ID: ": let_in,
    "registered successfully": registered,
    "/v1/fleet/": fleet,
    "Uvicorn running on": serving,
    "hydra.core.utils.run_job": launching,
    "full_key: ": placed,
    "threading._shutdown": ending,
}
