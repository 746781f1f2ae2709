"""Does on request what Neutron's agents do, with Neutron's own classes.

A request is one line of JSON, {"do": NAME, ...}; the answer is one line,
{"result": ...} or {"error": TEXT}. Arguments of the command line are those of
an agent (--config-file). Importing Neutron takes seconds: one process serves
a whole test.
"""

import json
import os
import signal
import sys
import time
import traceback

import eventlet
from neutron.agent import dhcp_agent
from neutron.agent import l3_agent
from neutron.agent.linux import external_process
from neutron.cmd import netns_cleanup
from neutron.common import config as common_config
from neutron.common import utils
from neutron.conf.agent import common as agent_config
from neutron import privileged
from oslo_config import cfg
from oslo_privsep import priv_context

import dhcp
import router

CONF = cfg.CONF


class Monitor(external_process.ProcessMonitor):
    """Neutron's monitor, whose looks wait for each other.

    In Neutron 21 they are green threads, and the lock is the system's here
    (see start_privileged): when a start takes longer than the time between
    two looks, the whole process would wait for itself. So there is no look
    while one is under way.
    """

    def __init__(self, *args):
        self.looking = False
        super().__init__(*args)

    def _check_child_processes(self):
        if self.looking:
            return
        self.looking = True
        try:
            super()._check_child_processes()
        finally:
            self.looking = False


class Agent:
    """The state of an agent: a process monitor and what it looks after."""

    def __init__(self):
        self.monitor = Monitor(CONF, 'test')
        self.managers = {}
        self.networks = {}

    def manage(self, name, uuid, argv, **options):
        """Makes a process manager. {pid} in argv is its pid file."""
        def command(pid_file):
            return [a.replace('{pid}', pid_file) for a in argv]

        manager = external_process.ProcessManager(
            CONF, uuid, default_cmd_callback=command, **options)
        self.managers[name] = manager
        return manager.get_pid_file_name()

    def manage_conntrackd(self, uuid, step, **options):
        """Starts a conntrackd and takes its process manager; nothing when
        this Neutron has none. The command of that manager only the monitor has.
        """
        if router.conntrackd(CONF, self.monitor, step, uuid, **options) is None:
            return None
        manager = self.monitor._monitored_processes[
            external_process.ServiceId(uuid, 'conntrackd')]
        self.monitor.unregister(uuid, 'conntrackd')
        self.managers[uuid] = manager
        return self.state(uuid)

    def enable(self, name, **options):
        self.managers[name].enable(**options)
        return self.state(name)

    def disable(self, name):
        """Stops a process as all of Neutron's own managers do."""
        manager = self.managers[name]
        manager.disable(sig=str(int(signal.SIGTERM)))
        try:
            utils.wait_until_true(lambda: not manager.active, timeout=5)
        except utils.WaitTimeout:
            manager.disable(sig=str(int(signal.SIGKILL)))

    def reload(self, name):
        self.managers[name].reload_cfg()
        return self.state(name)

    def state(self, name):
        manager = self.managers[name]
        return {'active': manager.active, 'pid': manager.pid or 0}

    def watch(self, name):
        manager = self.managers[name]
        self.monitor.register(manager.uuid, manager.service, manager)

    def unwatch(self, name):
        manager = self.managers[name]
        self.monitor.unregister(manager.uuid, manager.service)

    def respawned(self, name, pid, seconds=120):
        """Waits until the monitor has started a process in place of pid."""
        end = time.time() + seconds
        while time.time() < end:
            state = self.state(name)
            if state['active'] and state['pid'] != pid:
                return state
            eventlet.sleep(0.1)  # in Neutron 21 the monitor is a green thread
        raise TimeoutError('nothing in place of %d: %s' % (pid, state))

    def all_respawned(self, pids, seconds=120):
        """Waits until the monitor has started all that it watches again."""
        end = time.time() + seconds
        while time.time() < end:
            managers = list(self.monitor._monitored_processes.values())
            if all(m.active and m.pid not in pids for m in managers):
                return
            eventlet.sleep(0.1)
        raise TimeoutError('still %s' % [m.pid for m in managers])

    def kill_scripts(self, path):
        """Says where process managers made from now on look for them."""
        CONF.set_override('kill_scripts_path', path, 'AGENT')

    def clean(self):
        """Does what neutron-netns-cleanup --force does."""
        CONF.set_override('force', True)
        netns_cleanup.cleanup_network_namespaces(CONF)

    def dhcp(self, step, network):
        """A step of the DHCP driver's life: enable, disable, …"""
        name = network['id']
        if name not in self.networks:
            self.networks[name] = dhcp.Network(CONF, self.monitor, network)
        return self.networks[name].step(step, network)

    def keepalived(self, step, **options):
        return router.keepalived(CONF, self.monitor, step, **options)

    def radvd(self, step, **options):
        return router.radvd(CONF, self.monitor, step, **options)

    def conntrackd(self, step, **options):
        return router.conntrackd(CONF, self.monitor, step, **options)

    def metadata(self, step, **options):
        return router.metadata(CONF, self.monitor, step, **options)

    def stop(self):
        """Ends as an agent does that is told to: what it started stays."""
        os._exit(0)


def configure(arguments):
    """Makes the configuration of a DHCP and an L3 agent."""
    dhcp_agent.register_options(CONF)
    l3_agent.register_opts(CONF)
    agent_config.register_root_helper(CONF)
    netns_cleanup.setup_conf()
    common_config.init(arguments)
    agent_config.setup_logging()
    agent_config.setup_privsep()
    start_privileged()


def start_privileged():
    """Starts the privileged daemons by fork.

    Left to themselves they would be programs that import Neutron again, each
    for seconds. The capabilities that they keep are the same. (This is why
    the standard library is left as it is: what eventlet patches cannot fork.)
    An agent that is not root needs its root helper for them.
    """
    if os.geteuid() != 0:
        return
    for context in (privileged.default, privileged.namespace_cmd,
                    privileged.link_cmd, privileged.dhcp_release_cmd):
        context.start(priv_context.Method.FORK)


def answer(to, value):
    to.write(json.dumps(value) + '\n')
    to.flush()


def main():
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    configure(sys.argv[1:])
    agent = Agent()
    answer(answers, {'result': 'ready'})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            result = getattr(agent, request.pop('do'))(**request)
            answer(answers, {'result': result})
        except Exception as error:
            traceback.print_exc()
            answer(answers, {'error': '%s: %s' % (type(error).__name__, error)})


if __name__ == '__main__':
    main()
