#!/usr/bin/env python3
"""Make the image of a virtual Pi: vmlinuz, initrd and root.ext4, in a folder that gets its name last.

The root file system is the one of the lab's containers, and gets what a machine has beyond a container: udev, the
kernel's modules, a network. Debian's own kernel has the drivers of disk and file system as modules, so a small initrd
loads these, and nothing else: generating Debian's would take minutes under emulation.

Needs root, mmdebstrap, depmod, cpio and mkfs.ext4, and a new mount namespace (unshare --mount).
"""

from __future__ import annotations

import argparse
import lzma
import os
import shutil
import subprocess
from pathlib import Path

#: Packages of the machine, beyond the container's. All of them are Debian's.
MACHINE = ["e2fsprogs", "kmod", "libnss-myhostname", "udev"]
KERNEL = ["busybox-static", "linux-image-arm64"]
#: What the initrd loads, and all that these depend on. ext4 asks for crc32c by an alias that no list of modules names.
MODULES = ["virtio_blk", "crc32c_generic", "ext4"]
#: Run in the finished root file system, emulated.
SETTLE = """
chmod 0440 /etc/sudoers.d/*
rm -f /etc/ssh/ssh_host_*
mkdir -p /etc/ssh/lab
mkdir --mode=0700 /var/cache/lab-zip
update-ca-certificates
useradd --create-home --shell /bin/bash --groups sudo ada
echo 'ada:of the lab' | chpasswd --crypt-method SHA256 --sha-rounds 1000
systemctl enable systemd-networkd ssh
systemctl set-default multi-user.target
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
"""


def name_of(module: str) -> str:
    """Return a module's name as the kernel has it: `kernel/fs/ext4/ext4.ko.xz` -> `ext4`."""
    return module.rsplit("/", 1)[-1].split(".", 1)[0].replace("-", "_")


def load_order(dependencies: str, wanted: list[str]) -> list[str]:
    """Return paths of the wanted modules and of all they depend on, in an order in which they can be loaded.

    Args:
        dependencies: text of modules.dep (`path: path path`, depmod(8)).
        wanted: names of modules.

    Raises:
        KeyError: a module does not exist.
    """
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in dependencies.splitlines())}
    paths = {name_of(path): path for path in needs}
    order: list[str] = []

    def add(path: str) -> None:
        for other in needs[path]:
            add(other)
        if path not in order:
            order.append(path)

    for name in wanted:
        add(paths[name])
    return order


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)


def mmdebstrap(target: Path, suite: str, sources: list[str], packages: list[str], *options: str) -> None:
    run(
        "mmdebstrap",
        "--architectures=arm64",
        f"--include={','.join(packages)}",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=APT::Install-Recommends "false"',
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        *options,
        suite,
        target,
        *sources,
    )


def make_initrd(initrd: Path, work: Path, init: Path, busybox: Path, modules: Path) -> None:
    """Put the initrd together in `work` and pack it (newc, gzip). `modules` is the folder with modules.dep."""
    for folder in ("bin", "dev", "modules", "root"):
        (work / folder).mkdir(parents=True)
    shutil.copy2(busybox, work / "bin/busybox")
    shutil.copy2(init, work / "init")
    order = load_order((modules / "modules.dep").read_text(), MODULES)
    for path in order:
        (work / "modules" / f"{name_of(path)}.ko").write_bytes(lzma.decompress((modules / path).read_bytes()))
    (work / "modules/order").write_text("".join(f"{name_of(path)}.ko\n" for path in order))
    names = "\n".join(str(path.relative_to(work)) for path in sorted(work.rglob("*")))
    with initrd.open("wb") as file:
        packed = subprocess.Popen(["gzip", "-1"], stdin=subprocess.PIPE, stdout=file)
        cpio = ["cpio", "--create", "--format=newc", "--owner=0:0", "--quiet"]
        subprocess.run(cpio, input=names, text=True, cwd=work, stdout=packed.stdin, check=True)
        packed.communicate()
    if packed.returncode:
        raise SystemExit(f"gzip ended with {packed.returncode}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, required=True, help="folder to make")
    parser.add_argument("--rootfs", type=Path, required=True, help="tar of the containers' root file system")
    parser.add_argument("--tree", type=Path, action="append", default=[], help="folder whose files go into the root")
    parser.add_argument("--init", type=Path, required=True, help="the initrd's init")
    parser.add_argument("--size", required=True, help="of the root file system, as truncate(1) takes it")
    parser.add_argument("--suite", required=True, help="Debian release")
    parser.add_argument("sources", nargs="+", help="lines of sources.list")
    wanted = parser.parse_args()

    new = wanted.image.with_name(f"{wanted.image.name}.new")
    work = new / "work"
    subprocess.run(["rm", "-rf", "--one-file-system", "--", str(new)], check=True)
    work.mkdir(parents=True)
    os.environ["TMPDIR"] = str(work)

    kernel, root = work / "kernel", work / "root"
    # Only unpacked: the packages' scripts need the emulator and a running system.
    mmdebstrap(kernel, wanted.suite, wanted.sources, KERNEL, "--variant=extract")
    (version,) = sorted(path.name for path in (kernel / "usr/lib/modules").iterdir())
    trees = [f'--customize-hook=cp --recursive --dereference {tree}/. "$1"' for tree in wanted.tree]
    mmdebstrap(
        root,
        wanted.suite,
        wanted.sources,
        MACHINE,
        "--variant=custom",
        f'--setup-hook=tar --extract --file={wanted.rootfs} --directory="$1"',
        *trees,
        f'--customize-hook=chroot "$1" sh -euc "{SETTLE}"',
    )
    (root / "usr/lib/modules").mkdir(exist_ok=True)
    (kernel / "usr/lib/modules" / version).rename(root / "usr/lib/modules" / version)
    run("depmod", "--basedir", root, version)

    modules = root / "usr/lib/modules" / version
    make_initrd(new / "initrd", work / "initrd", wanted.init, kernel / "usr/bin/busybox", modules)
    shutil.copyfile(kernel / f"boot/vmlinuz-{version}", new / "vmlinuz")
    run("truncate", f"--size={wanted.size}", new / "root.ext4")
    run("mkfs.ext4", "-q", "-L", "root", "-d", root, new / "root.ext4")
    subprocess.run(["rm", "-rf", "--one-file-system", "--", str(work)], check=True)
    os.sync()
    new.rename(wanted.image)


if __name__ == "__main__":
    main()
