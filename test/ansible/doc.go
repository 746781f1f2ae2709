// Package ansible has the tests of the Ansible collection: its texts agree with each other and
// with the roles whose variables it overrides; and Ansible, over ssh, installs, upgrades and
// removes the service on three hosts (make ansible-test).
package ansible
