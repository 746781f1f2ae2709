#!/usr/bin/python
"""Takes away what an agent needed before it had sidecar."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: migrate
short_description: Takes away what an agent needed before it had sidecar
description:
  - Moves wrapper scripts into a backup, and takes engine sockets and privileges out of the
    agents' quadlets (podman-systemd.unit(5)), whose old text goes into the backup.
  - A wrapper that a container or a quadlet still uses is an error, and nothing changes. So is a
    line of a quadlet that gives an engine or privileges and that the module does not edit, such as
    one with quotes or one that is continued.
options:
  wrappers:
    description: Files and directories to move away.
    type: list
    elements: path
    default: []
  quadlets:
    description: Files of the agents' containers. A file that does not exist is left out.
    type: list
    elements: path
    default: []
  engine_sockets:
    description: Whether to take the engines' sockets and podman's storage out of the quadlets.
    type: bool
    default: false
  privileges:
    description: Whether to take C(--privileged), C(--cgroupns=host) and C(/sys/fs/cgroup) out of them.
    type: bool
    default: false
  podman_arguments:
    description: Arguments of podman in place of C(--privileged).
    type: list
    elements: str
    default: []
  backup:
    description: Directory for the backup.
    type: path
    required: true
  rollback:
    description: Whether to put back what is in the backup, instead.
    type: bool
    default: false
author: The sidecar developers
"""

EXAMPLES = r"""
- name: Take the engine's socket away
  tripleo.sidecar.migrate:
    quadlets: [/etc/containers/systemd/edpm_neutron_dhcp_agent.container]
    engine_sockets: true
    backup: /var/lib/sidecar-migration
"""

RETURN = r"""
units:
  description: Units of the containers whose quadlets were changed.
  type: list
  elements: str
  returned: always
"""

import errno
import glob
import os
import re
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule

QUADLETS = "/etc/containers/systemd/*.container"
SOCKETS = ("podman.sock", "docker.sock")
STORAGE = ("/run/podman", "/var/run/podman", "/var/lib/containers")
# MARKER is in each backup: a rollback moves everything below the directory to /, and removes it.
MARKER = ".tripleo.sidecar-backup"
# What remaining looks for: the sockets, and the directories of podman as whole paths.
ENGINES = re.compile("|".join(map(re.escape, SOCKETS)) + "|(?<![^=\\s:,\"'])(?:" + "|".join(STORAGE) + ")/?(?![^:,\\s\"'])")
PRIVILEGES = re.compile("--privileged|--cgroupns[= ]+host|/sys/fs/cgroup")


def source(line):
    """Returns the host's path of a Volume= line, or None."""
    if not line.startswith("Volume="):
        return None
    return line[len("Volume=") :].split(":")[0].strip().rstrip("/")


def gives_engine(line):
    path = source(line)
    return path is not None and (path.endswith(SOCKETS) or path in STORAGE)


def without_privileges(line):
    """Returns the line without its privileges, and whether --privileged was among them."""
    if source(line) == "/sys/fs/cgroup":
        return "", False
    if not line.startswith("PodmanArgs="):
        return line, False
    words = line[len("PodmanArgs=") :].split()
    privileged = ("--privileged", "--privileged=true")
    rest = [w for w in words if w not in privileged + ("--cgroupns=host",)]
    if rest == words:
        return line, False
    changed = "PodmanArgs=%s\n" % " ".join(rest) if rest else ""
    return changed, any(w in privileged for w in words)


def edited(parameters, text):
    """Returns the text of a quadlet without what is to be taken away. Quoted and continued lines stay."""
    lines = []
    continued = False
    for line in text.splitlines(True):
        plain = not continued and not line.rstrip().endswith("\\") and '"' not in line and "'" not in line
        continued = line.rstrip().endswith("\\")
        if not plain:
            lines.append(line)
            continue
        if parameters["engine_sockets"] and gives_engine(line):
            continue
        if parameters["privileges"]:
            line, privileged = without_privileges(line)
            if privileged and parameters["podman_arguments"]:
                line += "PodmanArgs=%s\n" % " ".join(parameters["podman_arguments"])
        lines.append(line)
    return "".join(lines)


def remaining(parameters, text):
    """Returns the lines that give an engine or privileges in a way that is not known here."""
    patterns = [ENGINES] if parameters["engine_sockets"] else []
    patterns += [PRIVILEGES] if parameters["privileges"] else []
    lines = [line.strip() for line in text.splitlines()]
    return [x for x in lines if not x.startswith(("#", ";")) and any(p.search(x) for p in patterns)]


def in_containers(path):
    """Returns a process in whose mount namespace the path is mounted somewhere, or None."""
    device = os.lstat(path).st_dev
    number = "%d:%d" % (os.major(device), os.minor(device))
    seen = set()
    for process in glob.glob("/proc/[0-9]*"):
        try:
            namespace = os.readlink(process + "/ns/mnt")
            if namespace in seen:
                continue
            seen.add(namespace)
            with open(process + "/mountinfo", encoding="utf-8", errors="replace") as f:
                fields = [line.split() for line in f]
        except OSError:
            continue  # it has ended
        if any(x[2] == number and x[3] != "/" and path.endswith(x[3]) for x in fields):
            return os.path.basename(process)
    return None


def users(path, texts):
    """Returns what still uses a wrapper. texts has the quadlets as they will be."""
    found = [
        "the quadlet %s mounts it" % quadlet
        for quadlet, text in sorted(texts.items())
        if any(source(line) == path for line in text.splitlines())
    ]
    process = in_containers(path)
    if process:
        found.append("it is mounted in the container of process %s; restart the agent with its new mounts first" % process)
    return found


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def write(module, path, text):
    descriptor, trial = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(descriptor, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(trial, 0o644)
    module.atomic_move(trial, path)


def unit(quadlet):
    return os.path.basename(quadlet)[: -len(".container")] + ".service"


def into_backup(origin, target, copy):
    """Moves or copies a file or directory to its place in the backup."""
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        os.makedirs(directory)
        like = os.stat(os.path.dirname(origin))
        os.chown(directory, like.st_uid, like.st_gid)
        shutil.copystat(os.path.dirname(origin), directory)
    if os.path.islink(target):
        os.remove(target)
    elif os.path.isdir(target):
        shutil.rmtree(target)
    if copy:
        shutil.copy2(origin, target)
    else:
        shutil.move(origin, target)


def begin_backup(directory):
    """Makes the directory of the backup. Agents' directories are copied into it, so it is not for agents."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    open(os.path.join(directory, MARKER), "a").close()


def check_backup(module):
    """Fails if the directory is there and is no backup, which a rollback would scatter over the host."""
    directory = module.params["backup"]
    if not os.path.isabs(directory):
        module.fail_json(msg="backup: %r: want the absolute path of a directory that is not /" % directory)
    if os.path.isdir(directory) and os.listdir(directory) and not os.path.lexists(os.path.join(directory, MARKER)):
        module.fail_json(msg="backup: %s has other files, and no %s: want a directory of its own" % (directory, MARKER))


def left_of(parameters, backup, text):
    """Returns whether an earlier migration made the text from the one in the backup."""
    if not os.path.exists(backup):
        return False
    choices = [dict(parameters, engine_sockets=e, privileges=p) for e in (False, True) for p in (False, True)]
    return any(edited(choice, read(backup)) == text for choice in choices)


def opened(path, backup):
    """Opens a directory and follows no link. It makes the directories that are missing, like those in the backup."""
    descriptor = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    parent = ""
    for name in filter(None, path.split("/")):
        parent += "/" + name
        try:
            os.mkdir(name, 0o700, dir_fd=descriptor)
            made = True
        except FileExistsError:
            made = False
        above, descriptor = descriptor, os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        os.close(above)
        if made:
            like = os.stat(backup + parent)
            os.chown(descriptor, like.st_uid, like.st_gid)
            shutil.copystat(backup + parent, descriptor)
    return descriptor


def copy_across(origin, name, directory):
    """Copies a file or a link of another file system into an open directory."""
    trial = ".%s.sidecar" % name
    try:
        os.remove(trial, dir_fd=directory)
    except FileNotFoundError:
        pass
    if os.path.islink(origin):
        os.symlink(os.readlink(origin), trial, dir_fd=directory)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(trial, flags, 0o600, dir_fd=directory), "wb") as copy:
            with os.fdopen(os.open(origin, os.O_RDONLY | os.O_NOFOLLOW), "rb") as f:
                shutil.copyfileobj(f, copy)
            copy.flush()
            like = os.lstat(origin)
            os.chown(copy.fileno(), like.st_uid, like.st_gid)
            shutil.copystat(origin, copy.fileno())
    os.rename(trial, name, src_dir_fd=directory, dst_dir_fd=directory)


def restore(backup, target):
    """Moves a file or a link from the backup to its place, in place of a file or link that is there."""
    directory = opened(os.path.dirname(target), backup)
    try:
        os.rename(backup + target, os.path.basename(target), dst_dir_fd=directory)
    except OSError as e:
        if e.errno != errno.EXDEV:
            raise
        copy_across(backup + target, os.path.basename(target), directory)
    finally:
        os.close(directory)


def take_away(module):
    parameters = module.params
    before = {q: read(q) for q in set(glob.glob(QUADLETS) + parameters["quadlets"]) if os.path.exists(q)}
    after = {q: edited(parameters, t) if q in parameters["quadlets"] else t for q, t in before.items()}
    wrappers = [w.rstrip("/") for w in parameters["wrappers"] if os.path.lexists(w)]
    problems = [
        "%s: change this line by hand: %s" % (q, line)
        for q in parameters["quadlets"]
        if q in after
        for line in remaining(parameters, after[q])
    ]
    problems += ["%s: %s" % (w, user) for w in wrappers for user in users(w, after)]
    if problems:
        module.fail_json(msg="nothing was changed: " + "; ".join(problems))
    changed = sorted(q for q in before if before[q] != after[q])
    if (changed or wrappers) and not module.check_mode:
        begin_backup(parameters["backup"])
        for quadlet in changed:
            if not left_of(parameters, parameters["backup"] + quadlet, before[quadlet]):
                into_backup(quadlet, parameters["backup"] + quadlet, copy=True)
            write(module, quadlet, after[quadlet])
        for wrapper in wrappers:
            into_backup(wrapper, parameters["backup"] + wrapper, copy=False)
    return changed, [dict(before_header=q, after_header=q, before=before[q], after=after[q]) for q in changed] + [
        dict(before_header=w, after_header=w, before="in use\n", after="in %s\n" % parameters["backup"]) for w in wrappers
    ]


def put_back(module):
    backup = module.params["backup"]
    names = [
        os.path.join(d, name)
        for d, directories, files in os.walk(backup)
        for name in [x for x in files if x != MARKER] + [x for x in directories if os.path.islink(os.path.join(d, x))]
    ]
    targets = sorted(name[len(backup) :] for name in names)
    # An agent may write to its own directory, and could have led root elsewhere.
    links = [t for t in targets if os.path.realpath(os.path.dirname(t)) != os.path.dirname(t)]
    if links:
        module.fail_json(msg="nothing was changed: a directory of these paths is a link: " + ", ".join(links))
    directories = [t for t in targets if os.path.isdir(t) and not os.path.islink(t)]
    if directories:
        module.fail_json(msg="nothing was changed: these paths are directories now: " + ", ".join(directories))
    if not module.check_mode:
        for target in targets:
            restore(backup, target)
        if os.path.isdir(backup):
            shutil.rmtree(backup)
    diff = [dict(before_header=t, after_header=t, before="in %s\n" % backup, after="in use\n") for t in targets]
    return [t for t in targets if t.endswith(".container")], diff


def main():
    module = AnsibleModule(
        argument_spec=dict(
            wrappers=dict(type="list", elements="path", default=[]),
            quadlets=dict(type="list", elements="path", default=[]),
            engine_sockets=dict(type="bool", default=False),
            privileges=dict(type="bool", default=False),
            podman_arguments=dict(type="list", elements="str", default=[]),
            backup=dict(type="path", required=True),
            rollback=dict(type="bool", default=False),
        ),
        supports_check_mode=True,
    )
    module.params["backup"] = module.params["backup"].rstrip("/")
    check_backup(module)
    try:
        quadlets, diff = put_back(module) if module.params["rollback"] else take_away(module)
    except (OSError, UnicodeError) as e:
        module.fail_json(msg="stopped: %s; mend it, and run the same again" % e)
    module.exit_json(changed=bool(diff), units=[unit(q) for q in quadlets], diff=diff)


if __name__ == "__main__":
    main()
