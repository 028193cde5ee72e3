"""Devices for tilewright through WebGPU, which reads no C: kernels are said in WGSL."""

from __future__ import annotations

from tilewright.backends.protocol import Found
from tilewright_webgpu.device import WebgpuDevice

__all__ = ["WebgpuDevice", "discover"]


def discover() -> list[Found]:
    """One device per adapter that wgpu lists, Vulkan, Metal or DirectX 12; software renderers last."""
    import wgpu

    adapters = [a for a in wgpu.gpu.enumerate_adapters_sync() if a.info["backend_type"] in ("Vulkan", "Metal", "D3D12")]
    adapters.sort(key=lambda a: a.info["adapter_type"] == "CPU")
    if not adapters:
        remedy = "install a Vulkan driver; without a GPU Debian's mesa-vulkan-drivers brings one in software"
        return [Found("webgpu", None, "webgpu: wgpu found no adapter", remedy)]
    return [Found(f"webgpu:{k}", WebgpuDevice(f"webgpu:{k}", adapter)) for k, adapter in enumerate(adapters)]
