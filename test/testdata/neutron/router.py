"""Neutron's managers of what a router needs."""

from neutron.agent.linux import keepalived as neutron_keepalived
from neutron.agent.linux import ra
from neutron.agent.metadata import driver as metadata_driver
from neutron.agent.ovn.metadata import driver as ovn_metadata_driver

try:
    from neutron.agent.linux import conntrackd as neutron_conntrackd
except ImportError:  # since 2023.2 (23)
    neutron_conntrackd = None


def keepalived(conf, monitor, step, uuid, namespace, device):
    """spawn, disable or check_processes of a highly available router."""
    config = neutron_keepalived.KeepalivedConf()
    instance = neutron_keepalived.KeepalivedInstance(
        'BACKUP', device, 1, ['169.254.192.0/18'], nopreempt=True,
        priority=50, ha_conf_dir=conf.ha_confs_path)
    instance.vips.append(
        neutron_keepalived.KeepalivedVipAddress('192.0.2.1/24', device))
    config.add_instance(instance)
    manager = neutron_keepalived.KeepalivedManager(
        uuid, config, monitor, conf.ha_confs_path, namespace=namespace)
    getattr(manager, step)()
    main = manager.get_process()
    vrrp = manager._get_vrrp_process(
        manager.get_vrrp_pid_file_name(main.get_pid_file_name()))
    return {'active': main.active and vrrp.active, 'pid': main.pid or 0,
            'vrrp': vrrp.pid or 0, 'check': manager.check_processes()}


def radvd(conf, monitor, step, uuid, namespace, device):
    """enable or disable of router advertisements on one device."""
    daemon = ra.DaemonMonitor(
        uuid, namespace, monitor, lambda _: device, conf)
    port = {'id': 'port', 'mtu': 1500, 'subnets': [{
        'cidr': '2001:db8::/64', 'ipv6_ra_mode': 'slaac',
        'dns_nameservers': []}]}
    if step == 'enable':
        daemon.enable([port])
    else:
        daemon.disable()
    return {'active': daemon.enabled,
            'pid': daemon._get_radvd_process_manager().pid or 0}


def conntrackd(conf, monitor, step, uuid, namespace, device, address):
    """spawn or disable; nothing when this Neutron has no conntrackd."""
    if neutron_conntrackd is None:
        return None
    manager = neutron_conntrackd.ConntrackdManager(
        uuid, monitor, conf, address, 1, device, namespace)
    getattr(manager, step)()
    process = manager.get_process()
    return {'active': process.active, 'pid': process.pid or 0}


def metadata(conf, monitor, step, uuid, namespace, ovn=False):
    """spawn or destroy of a network's metadata proxy, port 80."""
    driver = (ovn_metadata_driver if ovn else metadata_driver).MetadataDriver
    if step == 'spawn':
        driver.spawn_monitored_metadata_proxy(
            monitor, namespace, 80, conf, network_id=uuid)
    else:
        driver.destroy_monitored_metadata_proxy(
            monitor, uuid, conf, namespace)
    manager = driver._get_metadata_proxy_process_manager(
        uuid, conf, ns_name=namespace)
    return {'active': manager.active, 'pid': manager.pid or 0}
