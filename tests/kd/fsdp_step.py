"""Run by torchrun: one step of a model sharded by FSDP2, whose whole weights and loss are written by rank 0."""

import os
import sys

import torch
import torch.distributed as dist
from harness_kd.loss.fused import LossSettings
from harness_kd.loss.head import attach_loss
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import LlamaForCausalLM


def main(folder: str, output: str) -> None:
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    model = LlamaForCausalLM.from_pretrained(folder).train()
    attach_loss(model, LossSettings())
    if size > 1:
        mesh = init_device_mesh("cpu", (size,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    ids = torch.randint(3, 90, (4, 12), generator=torch.Generator().manual_seed(0))
    mine = ids[rank * 4 // size : (rank + 1) * 4 // size]
    # FSDP averages the gradients over processes, as DistributedDataParallel does
    loss = model(input_ids=mine, labels=mine, num_items_in_batch=4 * 11).loss * size
    loss.backward()
    optimizer.step()
    whole = {
        name: (value.full_tensor() if hasattr(value, "full_tensor") else value).detach().clone()
        for name, value in model.state_dict().items()
    }
    if rank == 0:
        save_file(whole, output)
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    main(sys.argv[1], sys.argv[2])
