package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

const (
	// routeProtocol marks podnet's own routes in the kernel's table.
	routeProtocol = 151
	defaultMTU    = 1500
)

// network is what podnet has done on this node so far.
type network struct {
	self      string
	path      string // of the CNI configuration
	podCIDR   string // that the configuration was written for
	announced map[string]string
}

func newNetwork(self, path string) *network {
	return &network{self: self, path: path, announced: map[string]string{}}
}

// apply brings this node in line with the cluster's nodes.
func (n *network) apply(nodes []*corev1.Node) error {
	var failures []error
	wanted := map[string]net.IP{}
	for _, node := range nodes {
		if node.Spec.PodCIDR == "" {
			continue // its range comes with a later update
		}
		if node.Name == n.self {
			failures = append(failures, n.writeConfig(node.Spec.PodCIDR))
			continue
		}
		if address := internalIPv4(node); address != nil {
			wanted[node.Spec.PodCIDR] = address
		}
	}
	failures = append(failures, n.routes(wanted))
	return errors.Join(failures...)
}

// routes makes the kernel's routes of ours exactly the wanted ones.
func (n *network) routes(wanted map[string]net.IP) error {
	var failures []error
	for cidr, via := range wanted {
		_, destination, err := net.ParseCIDR(cidr)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		route := &netlink.Route{Dst: destination, Gw: via, Protocol: routeProtocol}
		if err := netlink.RouteReplace(route); err != nil {
			failures = append(failures, fmt.Errorf("route to %s via %s: %w", cidr, via, err))
			continue
		}
		if n.announced[cidr] != via.String() {
			n.announced[cidr] = via.String()
			log.Printf("route to %s via %s", cidr, via)
		}
	}
	ours, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return errors.Join(append(failures, fmt.Errorf("list routes: %w", err))...)
	}
	for _, route := range ours {
		if route.Dst == nil || wanted[route.Dst.String()] != nil {
			continue
		}
		if err := netlink.RouteDel(&route); err != nil {
			failures = append(failures, fmt.Errorf("remove route to %s: %w", route.Dst, err))
			continue
		}
		delete(n.announced, route.Dst.String())
		log.Printf("route to %s removed", route.Dst)
	}
	return errors.Join(failures...)
}

// writeConfig makes the node Ready: containerd takes the file as soon as it appears.
func (n *network) writeConfig(podCIDR string) error {
	if n.podCIDR == podCIDR {
		return nil
	}
	type object = map[string]any
	body, err := json.Marshal(object{
		"cniVersion": "0.4.0",
		"name":       "podnet",
		"plugins": []object{
			{
				"type":   "ptp",
				"mtu":    mtu(),
				"ipMasq": false,
				"ipam": object{
					"type":    "host-local",
					"dataDir": "/run/cni-ipam-state",
					"routes":  []object{{"dst": "0.0.0.0/0"}},
					"ranges":  [][]object{{{"subnet": podCIDR}}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	})
	if err != nil {
		return err
	}
	// Renamed into place, so that nobody reads half a file.
	temporary := n.path + ".tmp"
	if err := os.WriteFile(temporary, body, 0o644); err != nil {
		return err
	}
	if err := os.Rename(temporary, n.path); err != nil {
		return err
	}
	n.podCIDR = podCIDR
	log.Printf("CNI configuration written for %s", podCIDR)
	return nil
}

// mtu is that of the link with the default route: a pod must not send more.
func mtu() int {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return defaultMTU
	}
	for _, route := range routes {
		if route.Dst != nil {
			if ones, _ := route.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if link, err := netlink.LinkByIndex(route.LinkIndex); err == nil && link.Attrs().MTU > 0 {
			return link.Attrs().MTU
		}
	}
	return defaultMTU
}

func internalIPv4(node *corev1.Node) net.IP {
	for _, address := range node.Status.Addresses {
		if address.Type != corev1.NodeInternalIP {
			continue
		}
		if ip := net.ParseIP(address.Address).To4(); ip != nil {
			return ip
		}
	}
	return nil
}

// masquerade gives pods' traffic to the outside their node's address.
func masquerade(ctx context.Context, podSubnet string) error {
	rule := []string{"POSTROUTING", "-s", podSubnet, "!", "-d", podSubnet, "-m", "comment", "--comment", "podnet: leaves the pod network", "-j", "MASQUERADE"}
	iptables := func(action string) ([]byte, error) {
		return exec.CommandContext(ctx, "iptables", append([]string{"-w", "-t", "nat", action}, rule...)...).CombinedOutput()
	}
	if _, err := iptables("-C"); err == nil {
		return nil
	}
	if out, err := iptables("-A"); err != nil {
		return fmt.Errorf("iptables: %w: %s", err, out)
	}
	return nil
}
