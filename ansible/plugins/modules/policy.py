#!/usr/bin/python
"""Writes the policy files of sidecar."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
---
module: policy
short_description: Writes the policy files of sidecar
description:
  - Writes a file for each agent and each profile, and removes files that it wrote earlier and
    that are no longer named. A file of somebody else that has one of the names is replaced, and
    kept beside it under another name; all others stay.
  - C(sidecarctl check) reads all files as they would be before any of them changes. If it finds
    an error, nothing changes.
options:
  directory:
    description: The directory with C(agents.d) and C(profiles.d).
    type: path
    default: /etc/sidecar
  vendor:
    description: The directory with the shipped profiles.
    type: path
    default: /usr/share/sidecar
  agents:
    description: The keys of each agent's file, see sidecar-policy(5), by the agent's name.
    type: dict
    default: {}
  profiles:
    description: The keys of each profile, by the profile's name.
    type: dict
    default: {}
author: The sidecar developers
"""

EXAMPLES = r"""
- name: Let the DHCP agent start dnsmasq
  tripleo.sidecar.policy:
    agents:
      neutron-dhcp:
        profiles: [dnsmasq]
        network-namespaces: ["qdhcp-*"]
        state-directories: [/var/lib/neutron]
"""

RETURN = r"""
written:
  description: Files that were written.
  type: list
  elements: str
  returned: always
removed:
  description: Files that were removed.
  type: list
  elements: str
  returned: always
"""

import json
import os
import re
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule

# DUE is there from before a file changes until the service was reloaded: a play that was cut off in
# between is made up for by the next one. After a boot the service has read all files anyway.
DUE = "/run/tripleo.sidecar.reload"
MARK = "# Written by the Ansible role tripleo.sidecar.sidecar. Changes here are lost.\n"
NAME = re.compile("[a-z0-9][a-z0-9-]{0,31}")
BARE = re.compile("[A-Za-z0-9_-]+")


def text(s):
    """Returns s as a string of TOML. JSON's escapes are TOML's, except for DEL."""
    return json.dumps(s, ensure_ascii=False).replace("\x7f", "\\u007f")


def assignment(key, v, where):
    """Returns one line of a table."""
    return "%s = %s" % (key if BARE.fullmatch(key) else text(key), value(v, where + "." + key))


def value(v, where):
    """Returns v as TOML. Tables are inline: then the order of keys does not matter."""
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, int):
        return str(v)
    if isinstance(v, str):
        return text(v)
    if isinstance(v, list):
        return "[" + ", ".join(value(x, where) for x in v) + "]"
    if isinstance(v, dict):
        return "{ " + ", ".join(assignment(str(k), x, where) for k, x in v.items()) + " }"
    raise ValueError("%s: %r: want a text, a number, a boolean, a list or a table" % (where, v))


def document(keys, where):
    if not isinstance(keys, dict) or not keys:
        raise ValueError("%s: %r: want the keys of its file" % (where, keys))
    return MARK + "".join(assignment(str(k), v, where) + "\n" for k, v in keys.items())


def wanted(parameters):
    """Returns the text of each file that is asked for, by its path below the directory."""
    files = {}
    for kind in ("agents", "profiles"):
        for name, keys in parameters[kind].items():
            where = "%s.%s" % (kind, name)
            if not NAME.fullmatch(name):
                raise ValueError("%s: the name: want 1 to 32 of a-z, 0-9 and '-', not beginning with '-'" % where)
            files["%s.d/%s.toml" % (kind, name)] = document(keys, where)
    return files


def present(directory):
    """Returns the text of each policy file in the directory, by its path below it."""
    files = {}
    for kind in ("agents.d", "profiles.d"):
        path = os.path.join(directory, kind)
        for name in sorted(os.listdir(path)) if os.path.isdir(path) else []:
            if name.endswith(".toml") and not name.startswith("."):
                with open(os.path.join(path, name), encoding="utf-8", errors="replace") as f:
                    files[kind + "/" + name] = f.read()
    return files


def check(module, files, others):
    """Fails if sidecarctl finds an error in these files and those that stay."""
    sidecarctl = module.get_bin_path("sidecarctl", required=bool(files) and not module.check_mode)
    if not sidecarctl:
        if files:
            module.warn("the policy files are not checked, because sidecarctl is not installed yet")
        return
    directory = module.params["directory"]
    trial = tempfile.mkdtemp(dir=module.tmpdir)
    for kind in ("agents.d", "profiles.d"):
        os.mkdir(os.path.join(trial, kind))
    for name, content in files.items():
        with open(os.path.join(trial, name), "w", encoding="utf-8") as f:
            f.write(content)
    for name in others:
        source = os.path.join(directory, name)
        shutil.copy2(source, os.path.join(trial, name))
        os.chown(os.path.join(trial, name), os.stat(source).st_uid, -1)
    rc, out, err = module.run_command([sidecarctl, "check", module.params["vendor"], trial])
    if rc != 0:
        problems = err.replace(trial, directory).strip()
        module.fail_json(msg="nothing was changed, because sidecarctl check finds: " + problems)


def write(module, path, content, foreign):
    if foreign:
        module.backup_local(path)
    descriptor, trial = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(descriptor, "w", encoding="utf-8") as f:
        f.write(content)
    os.chmod(trial, 0o644)
    module.atomic_move(trial, path)


def main():
    module = AnsibleModule(
        argument_spec=dict(
            directory=dict(type="path", default="/etc/sidecar"),
            vendor=dict(type="path", default="/usr/share/sidecar"),
            agents=dict(type="dict", default={}),
            profiles=dict(type="dict", default={}),
        ),
        supports_check_mode=True,
    )
    directory = module.params["directory"]
    try:
        want = wanted(module.params)
    except ValueError as e:
        module.fail_json(msg=str(e))
    try:
        have = present(directory)
    except OSError as e:
        module.fail_json(msg="a policy file cannot be read: %s" % e)
    changed = [name for name in sorted(want) if have.get(name) != want[name]]
    removed = [name for name in sorted(have) if name not in want and have[name].startswith(MARK)]
    if changed or removed:
        check(module, want, [name for name in have if name not in want and name not in removed])
    due = os.path.exists(DUE)
    if not module.check_mode and (changed or removed):
        open(DUE, "w").close()
        for name in changed:
            foreign = name in have and not have[name].startswith(MARK)
            write(module, os.path.join(directory, name), want[name], foreign)
        for name in removed:
            os.remove(os.path.join(directory, name))
    paths = [os.path.join(directory, name) for name in changed + removed]
    module.exit_json(
        changed=bool(paths) or due,
        written=paths[: len(changed)],
        removed=paths[len(changed) :],
        diff=[
            dict(before_header=path, after_header=path, before=have.get(name, ""), after=want.get(name, ""))
            for name, path in zip(changed + removed, paths)
        ],
    )


if __name__ == "__main__":
    main()
