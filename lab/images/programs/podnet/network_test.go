package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// node is one of the cluster, with its internal address and its range for pods.
func node(name, address, podCIDR string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{PodCIDR: podCIDR},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}},
	}
}

// written is what the tests read of a CNI configuration.
type written struct {
	CNIVersion string `json:"cniVersion"`
	Plugins    []struct {
		Type string `json:"type"`
		MTU  int    `json:"mtu"`
		IPAM struct {
			Ranges [][]struct {
				Subnet string `json:"subnet"`
			} `json:"ranges"`
		} `json:"ipam"`
	} `json:"plugins"`
}

func read(t *testing.T, path string) written {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var config written
	if err := json.Unmarshal(body, &config); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return config
}

func TestANodeIsReadyOnceItHasARange(t *testing.T) {
	path := filepath.Join(t.TempDir(), "10-podnet.conflist")
	n := newNetwork("a", path)
	if err := n.apply([]*corev1.Node{node("a", "192.0.2.1", "")}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("a configuration without a range: %v", err)
	}
	if err := n.apply([]*corev1.Node{node("a", "192.0.2.1", "10.244.1.0/24")}); err != nil {
		t.Fatal(err)
	}
	config := read(t, path)
	if len(config.Plugins) != 2 || config.Plugins[0].Type != "ptp" || config.Plugins[1].Type != "portmap" {
		t.Fatalf("plugins: %+v", config.Plugins)
	}
	if subnet := config.Plugins[0].IPAM.Ranges[0][0].Subnet; subnet != "10.244.1.0/24" {
		t.Errorf("the range is %s", subnet)
	}
	if mtu := config.Plugins[0].MTU; mtu < 576 {
		t.Errorf("pods may send only %d bytes", mtu)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTheConfigurationIsWrittenForEachRangeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "10-podnet.conflist")
	n := newNetwork("a", path)
	if err := n.writeConfig("10.244.1.0/24"); err != nil {
		t.Fatal(err)
	}
	// containerd reads it again whenever it changes
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := n.writeConfig("10.244.1.0/24"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("it was written again for the same range")
	}
	if err := n.writeConfig("10.244.2.0/24"); err != nil {
		t.Fatal(err)
	}
	if subnet := read(t, path).Plugins[0].IPAM.Ranges[0][0].Subnet; subnet != "10.244.2.0/24" {
		t.Errorf("the range is %s", subnet)
	}
}

func TestAConfigurationThatCouldNotBeWrittenIsTriedAgain(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "net.d")
	n := newNetwork("a", filepath.Join(folder, "10-podnet.conflist"))
	if err := n.writeConfig("10.244.1.0/24"); err == nil {
		t.Fatal("there is no such folder")
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := n.writeConfig("10.244.1.0/24"); err != nil {
		t.Fatal(err)
	}
	read(t, n.path)
}

func TestTheInternalIPv4AddressIsTaken(t *testing.T) {
	address := func(kind corev1.NodeAddressType, text string) corev1.NodeAddress {
		return corev1.NodeAddress{Type: kind, Address: text}
	}
	for _, c := range []struct {
		addresses []corev1.NodeAddress
		want      net.IP
	}{
		{nil, nil},
		{[]corev1.NodeAddress{address(corev1.NodeHostName, "a"), address(corev1.NodeExternalIP, "203.0.113.1")}, nil},
		{[]corev1.NodeAddress{address(corev1.NodeInternalIP, "fd00::1")}, nil},
		{[]corev1.NodeAddress{address(corev1.NodeInternalIP, "not an address")}, nil},
		{[]corev1.NodeAddress{
			address(corev1.NodeExternalIP, "203.0.113.1"), address(corev1.NodeInternalIP, "fd00::1"),
			address(corev1.NodeInternalIP, "192.0.2.7"), address(corev1.NodeInternalIP, "192.0.2.8"),
		}, net.IPv4(192, 0, 2, 7)},
	} {
		found := internalIPv4(&corev1.Node{Status: corev1.NodeStatus{Addresses: c.addresses}})
		if !found.Equal(c.want) {
			t.Errorf("%v: %v, not %v", c.addresses, found, c.want)
		}
	}
}

func TestOnlyNodesCount(t *testing.T) {
	store := cache.NewStore(func(object any) (string, error) {
		if n, ok := object.(*corev1.Node); ok {
			return n.Name, nil
		}
		return "other", nil
	})
	for _, object := range []any{node("a", "192.0.2.1", ""), cache.DeletedFinalStateUnknown{}, node("b", "192.0.2.2", "")} {
		if err := store.Add(object); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for _, n := range nodes(store) {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("nodes: %v", names)
	}
}

// standIn puts a program in iptables' place that writes down what it is called with.
func standIn(t *testing.T, script string) (called func() []string) {
	t.Helper()
	folder := t.TempDir()
	log := filepath.Join(folder, "log")
	body := "#!/bin/sh\necho \"$*\" >> " + log + "\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(folder, "iptables"), []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	return func() []string {
		lines, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(lines)), "\n")
	}
}

func TestWhatLeavesThePodNetworkIsMasqueradedOnce(t *testing.T) {
	called := standIn(t, `case $* in *" -C "*) exit 1;; esac`)
	if err := masquerade(context.Background(), "10.244.0.0/16"); err != nil {
		t.Fatal(err)
	}
	calls := called()
	if len(calls) != 2 || !strings.Contains(calls[0], " -C POSTROUTING ") {
		t.Fatalf("it is looked for first: %q", calls)
	}
	if want := "-w -t nat -A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 "; !strings.HasPrefix(calls[1], want) {
		t.Errorf("%q does not begin with %q", calls[1], want)
	}

	called = standIn(t, "exit 0")
	if err := masquerade(context.Background(), "10.244.0.0/16"); err != nil {
		t.Fatal(err)
	}
	if calls := called(); len(calls) != 1 {
		t.Errorf("it was there already: %q", calls)
	}
}

func TestWhatIptablesSaysIsPassedOn(t *testing.T) {
	standIn(t, "echo no such table; exit 4")
	err := masquerade(context.Background(), "10.244.0.0/16")
	if err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("the error is %v", err)
	}
}
