"""Neutron's DHCP driver with a network that nobody but the test knows."""

from neutron.agent.linux import dhcp
from neutron.agent.linux import interface
from neutron.agent.linux import ip_lib
from oslo_utils import uuidutils


class VethDriver(interface.LinuxInterfaceDriver):
    """Plugs a network's DHCP port: one end of a pair of virtual devices.

    The other end stays where the agent is; a test takes it from there. Named
    in the configuration as interface_driver, in the place of Open vSwitch.
    """

    DEV_NAME_PREFIX = 'tap'

    def plug_new(self, network_id, port_id, device_name, mac_address,
                 bridge=None, namespace=None, prefix=None, mtu=None,
                 link_up=True):
        here, there = ip_lib.IPWrapper().add_veth(
            peer_of(device_name), device_name, namespace2=namespace)
        there.link.set_address(mac_address)
        there.link.set_up()
        here.link.set_up()

    def unplug(self, device_name, bridge=None, namespace=None, prefix=None):
        ip_lib.IPDevice(device_name, namespace=namespace).link.delete()

    def set_mtu(self, device_name, mtu, namespace=None, prefix=None):
        ip_lib.IPDevice(device_name, namespace=namespace).link.set_mtu(mtu)


def peer_of(device_name):
    return 'p' + device_name[len(VethDriver.DEV_NAME_PREFIX):]


class Plugin:
    """The part of Neutron's server that the driver talks to."""

    def __init__(self, server_address, subnet):
        self.server_address = server_address
        self.subnet = subnet

    def get_networks(self, *_, **__):
        return []

    def get_ports(self, *_, **__):
        return []

    def create_dhcp_port(self, request):
        return dhcp.DictModel(
            id=uuidutils.generate_uuid(),
            device_id=request['port']['device_id'],
            device_owner='network:dhcp',
            mac_address='fa:16:3e:00:00:02',
            fixed_ips=[{'subnet_id': self.subnet,
                        'ip_address': self.server_address}])

    def release_dhcp_port(self, network_id, device_id):
        pass


class Network:
    """A network and the driver that serves it."""

    def __init__(self, conf, monitor, network):
        network['subnets'] = [dict(
            id=network['subnet'], ip_version=4, enable_dhcp=True,
            cidr='192.0.2.0/24', gateway_ip=None, dns_nameservers=[],
            host_routes=[], subnetpool_id=None, ipv6_address_mode=None,
            ipv6_ra_mode=None)]
        network.update(project_id='p', tenant_id='p', mtu=1500,
                       non_local_subnets=[])
        self.model = dhcp.NetModel(network)
        self.model['ports'] = []
        self.driver = dhcp.Dnsmasq(
            conf, self.model, monitor,
            plugin=Plugin(network['server'], network['subnet']))

    def step(self, name, network):
        """Does a step of the driver's life with the machines of network."""
        self.model['ports'] = [
            p for p in self.model['ports'] if p.device_owner == 'network:dhcp'
        ] + [machine(p, network['subnet']) for p in network['machines']]
        getattr(self.driver, name)()
        device = self.driver.interface_name or ''
        manager = self.driver._get_process_manager()
        return {'active': self.driver.active, 'pid': manager.pid or 0,
                'device': device, 'peer': device and peer_of(device)}


def machine(port, subnet):
    """Returns the port of a machine."""
    return dhcp.DictModel(
        id=port['id'], device_id='vm', device_owner='compute:nova',
        mac_address=port['mac'], extra_dhcp_opts=[], dns_assignment=[],
        fixed_ips=[{'subnet_id': subnet, 'ip_address': port['address']}])
