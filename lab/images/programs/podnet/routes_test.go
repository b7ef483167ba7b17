package main

import (
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

// neighbours are addresses beside the one of this machine; without the right to
// change its routes there is no test. PODNET_ROUTES says that this is a network
// of the tests' own: routes that are really used are not for tests.
func neighbours(t *testing.T, count int) []string {
	t.Helper()
	if os.Getenv("PODNET_ROUTES") == "" {
		t.Skip("PODNET_ROUTES is not set")
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if address.IP.IsLoopback() {
			continue
		}
		var found []string
		for last := byte(200); len(found) < count; last++ {
			ip := slices.Clone(address.IP.To4())
			ip[3] = last
			found = append(found, ip.String())
		}
		return found
	}
	t.Fatal("there is no network")
	return nil
}

// ours is what the kernel has of podnet: gateways by range.
func ours(t *testing.T) map[string]string {
	t.Helper()
	filter := &netlink.Route{Protocol: routeProtocol}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, filter, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, route := range routes {
		found[route.Dst.String()] = route.Gw.String()
	}
	return found
}

func TestRoutesFollowTheNodes(t *testing.T) {
	at := neighbours(t, 3)
	n := newNetwork("a", filepath.Join(t.TempDir(), "10-podnet.conflist"))
	self := node("a", at[0], "10.244.0.0/24")
	for _, c := range []struct {
		what  string
		nodes []*corev1.Node
		want  map[string]string
	}{
		{"alone", []*corev1.Node{self}, map[string]string{}},
		{"two others, and one without a range", []*corev1.Node{
			self, node("b", at[1], "10.244.1.0/24"), node("c", at[2], "10.244.2.0/24"), node("d", at[0], ""),
		}, map[string]string{"10.244.1.0/24": at[1], "10.244.2.0/24": at[2]}},
		{"one at another address, one gone", []*corev1.Node{self, node("b", at[2], "10.244.1.0/24")},
			map[string]string{"10.244.1.0/24": at[2]}},
		{"one without an address", []*corev1.Node{self, node("b", "fd00::1", "10.244.1.0/24")}, map[string]string{}},
	} {
		if err := n.apply(c.nodes); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if found := ours(t); !maps.Equal(found, c.want) {
			t.Errorf("%s: %v, not %v", c.what, found, c.want)
		}
	}
}

func TestARouteThatSomebodyRemovedComesBackAndAStrangersStays(t *testing.T) {
	at := neighbours(t, 2)
	n := newNetwork("a", filepath.Join(t.TempDir(), "10-podnet.conflist"))
	_, foreign, _ := net.ParseCIDR("10.99.0.0/24")
	stranger := &netlink.Route{Dst: foreign, Gw: net.ParseIP(at[0]), Protocol: routeProtocol + 1}
	if err := netlink.RouteAdd(stranger); err != nil {
		t.Fatal(err)
	}
	others := []*corev1.Node{node("b", at[1], "10.244.1.0/24")}
	if err := n.apply(others); err != nil {
		t.Fatal(err)
	}
	_, destination, _ := net.ParseCIDR("10.244.1.0/24")
	if err := netlink.RouteDel(&netlink.Route{Dst: destination}); err != nil {
		t.Fatal(err)
	}
	if err := n.apply(others); err != nil {
		t.Fatal(err)
	}
	if found := ours(t); found["10.244.1.0/24"] != at[1] {
		t.Errorf("routes: %v", found)
	}
	if err := n.apply(nil); err != nil {
		t.Fatal(err)
	}
	if found := ours(t); len(found) != 0 {
		t.Errorf("nobody is there any more, and still: %v", found)
	}
	if err := netlink.RouteDel(stranger); err != nil {
		t.Errorf("the stranger's route is gone: %v", err)
	}
}

func TestOneNodeThatCannotBeReachedKeepsNoOtherWaiting(t *testing.T) {
	at := neighbours(t, 1)
	n := newNetwork("a", filepath.Join(t.TempDir(), "10-podnet.conflist"))
	err := n.apply([]*corev1.Node{
		node("b", "203.0.113.1", "10.244.1.0/24"), node("c", at[0], "10.244.2.0/24"), node("d", at[0], "nonsense"),
	})
	if err == nil || !strings.Contains(err.Error(), "10.244.1.0/24 via 203.0.113.1") || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("the error is %v", err)
	}
	if found, want := ours(t), map[string]string{"10.244.2.0/24": at[0]}; !maps.Equal(found, want) {
		t.Errorf("%v, not %v", found, want)
	}
	if err := n.apply(nil); err != nil {
		t.Fatal(err)
	}
}
