"""What a result was measured on."""
import os
import pathlib
import platform
import subprocess


def output_of(*command):
    try:
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def field_of(path, key, separator):
    try:
        for line in pathlib.Path(path).read_text().splitlines():
            name, _, value = line.partition(separator)
            if name.strip() == key:
                return value.strip().strip('"')
    except OSError:
        pass
    return ""


def describe(ground):
    build_type = field_of(ground.build / "CMakeCache.txt", "CMAKE_BUILD_TYPE:STRING", "=")
    return {
        "cpu": field_of("/proc/cpuinfo", "model name", ":") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": field_of("/proc/meminfo", "MemTotal", ":"),
        "kernel": platform.release(),
        "system": field_of("/etc/os-release", "PRETTY_NAME", "="),
        "spool_on": ground.describe_spools(),
        "versions": output_of(ground.need("sluice"), "--version").splitlines(),
        "build": build_type or "as installed",
        "commit": output_of("git", "-C", ground.here, "describe", "--always", "--dirty", "--abbrev=12"),
    }


def load():
    """Runnable processes, averaged over a minute: what else the machine did."""
    return round(os.getloadavg()[0], 2)
