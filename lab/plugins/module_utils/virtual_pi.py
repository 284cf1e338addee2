"""The virtual Pi: IDs of its image and machine, and QEMU's command line.

Options are those of qemu-system-aarch64 10 (qemu(1), "machine virt").
"""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id

#: Words of the kernel's command line. The image's ssh service listens, so systemd generates no other.
KERNEL_WORDS = "console=ttyAMA0 quiet systemd.ssh_auto=no"


def image_id(lab: dict[str, Any], size: str, script: str) -> str:
    """Return the ID of the image that all virtual Pis of this kind share.

    Args:
        lab: what `lab_plan` returned.
        size: of the root file system, as truncate(1) takes it.
        script: text of the program that makes the image.
    """
    machine, image = lab["machine"], lab["images"][0]
    return content_id(
        {
            "rootfs": image["rootfs"].rsplit("/", 1)[-1],
            "sources": image["sources"],
            "files": [machine["trees"], machine["apt_proxy"], machine["certificates"]],
            "size": size,
            "script": script,
        }
    )


def machine_id(board: dict[str, Any]) -> str:
    """Return the ID of a machine. One with another ID is replaced.

    Args:
        board: name, image (folder), ssh_port, memory_mib, cores.
    """
    return content_id({name: board[name] for name in ("name", "image", "ssh_port", "memory_mib", "cores")})


def virtual_plan(
    lab: dict[str, Any], machines: list[dict[str, Any]], image: dict[str, Any], space_gib: int
) -> dict[str, Any]:
    """Return what the virtual Pis need, what of it is missing, and what prevents it.

    Args:
        lab: what `lab_plan` returned.
        machines: results of module `virtual_board` in check mode, one for each board: item (the board), running.
        image: path and exists.
        space_gib: least GiB free while the image has not been made.

    Returns:
        inputs (boards, image), image (path), image_missing, boards (name and running), change, and problems
        (sentences, empty if there is none).
    """
    boards = [{"name": machine["item"]["name"], "running": machine["running"]} for machine in machines]
    problems = [
        f"port {machine['item']['ssh_port']} on 127.0.0.1 is used by another program. Stop it,"
        f" or give {machine['item']['name']} another ssh_port in virtual_pi_boards"
        for machine in machines
        if not machine["running"] and int(machine["item"]["ssh_port"]) in lab["machine"]["ports_busy"]
    ]
    if not image["exists"] and lab["machine"]["free_mib"] < space_gib * 1024:
        problems.append(
            f"{lab['machine']['cache']} has {lab['machine']['free_mib']} MiB free, and an image needs {space_gib} GiB"
            " (virtual_pi_space_gib). Free space, or set lab_host_cache to a folder on another disk"
        )
    return {
        "inputs": {"boards": [machine["item"] for machine in machines], "image": image["path"]},
        "image": image["path"],
        "image_missing": not image["exists"],
        "boards": boards,
        "change": not image["exists"] or not all(board["running"] for board in boards),
        "problems": problems,
    }


def qemu_arguments(board: dict[str, Any], kvm: bool) -> list[str]:
    """Return the command line of a virtual Pi.

    Args:
        board: name, image (folder with vmlinuz and initrd), folder (of the machine, with disk.qcow2; QEMU writes the
            rest), ssh_keys (folder that the board can read), compiled (folder for Ansible's modules in their compiled
            form, which it can write), ssh_port (on 127.0.0.1), memory_mib, cores.
        kvm: whether this machine is ARM64 and offers its processor.
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
        *("-virtfs", f"local,mount_tag=board,path={board['ssh_keys']},security_model=none,readonly=on"),
        *("-virtfs", f"local,mount_tag=compiled,path={board['compiled']},security_model=none"),
        *("-display", "none"),
        *("-serial", f"file:{folder}/console.log"),
        *("-qmp", f"unix:{folder}/qmp,server=on,wait=off"),
        *("-pidfile", f"{folder}/pid"),
        "-daemonize",
    ]
