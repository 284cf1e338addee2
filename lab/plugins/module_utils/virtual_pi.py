"""The virtual Pi: a Cortex-A76 as QEMU is told of it.

Options are those of qemu-system-aarch64 10 (qemu(1), "machine virt").
"""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_key

#: Words of the kernel's command line. The image's ssh service listens; systemd need not generate others.
KERNEL_WORDS = "console=ttyAMA0 quiet systemd.ssh_auto=no"


def image_key(plan: dict[str, Any], state: dict[str, Any], size: str, script: str) -> str:
    """Key of the image that all virtual Pis of this kind share.

    Args:
        plan: what `lab_plan` returned.
        state: what module `lab_state` returned.
        size: of the root file system, as truncate(1) takes it.
        script: text of the program that makes the image.
    """
    return content_key(
        {
            "rootfs": plan["rootfs"].rsplit("/", 1)[-1],
            "sources": plan["sources"],
            "files": [state["trees"], state["apt_proxy"], state["certificates"]],
            "size": size,
            "script": script,
        }
    )


def machine_key(board: dict[str, Any]) -> str:
    """Key of a machine: what it must be made anew for.

    Args:
        board: name, image (folder), ssh_port, memory_mib, cores.
    """
    return content_key({name: board[name] for name in ("name", "image", "ssh_port", "memory_mib", "cores")})


def qemu_arguments(board: dict[str, Any], kvm: bool) -> list[str]:
    """The command line of a virtual Pi.

    Args:
        board: name, image (folder with vmlinuz and initrd), folder (of the machine: disk.qcow2 is in it, the rest is
            written there), keys (folder that the board may read), ssh_port (on 127.0.0.1), memory_mib, cores.
        kvm: whether the machine below is ARM64 and lends its own processor.
    """
    image, folder = board["image"], board["folder"]
    return [
        "qemu-system-aarch64",
        *("-machine", "virt"),
        *("-accel", "kvm" if kvm else "tcg,thread=multi"),
        *("-cpu", "host" if kvm else "cortex-a76"),
        *("-smp", str(board["cores"])),
        *("-m", str(board["memory_mib"])),
        *("-kernel", f"{image}/vmlinuz"),
        *("-initrd", f"{image}/initrd"),
        *("-append", f"{KERNEL_WORDS} systemd.hostname={board['name']}"),
        *("-drive", f"if=virtio,format=qcow2,file={folder}/disk.qcow2"),
        *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{board['ssh_port']}-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci"),
        *("-virtfs", f"local,mount_tag=board,path={board['keys']},security_model=none,readonly=on"),
        *("-display", "none"),
        *("-serial", f"file:{folder}/console.log"),
        *("-qmp", f"unix:{folder}/qmp,server=on,wait=off"),
        *("-pidfile", f"{folder}/pid"),
        "-daemonize",
    ]
