// Command podnet is the pod network of a kind cluster: one process per node.
//
// The nodes of a kind cluster share one layer-2 network, so nothing has to be
// encapsulated. podnet writes this node's CNI configuration as soon as the node
// has a pod range, keeps one route per other node, and masquerades what leaves
// the pod network. Everything it needs to know is in the Node objects.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	// cniConfig is mounted from the node; containerd watches the folder.
	cniConfig = "/etc/cni/net.d/10-podnet.conflist"
	// resync re-asserts the routes, in case something else removed one.
	resync = 30 * time.Second
	// retryDelay follows a failed attempt, for example a node without its address yet.
	retryDelay = 500 * time.Millisecond
)

func main() {
	log.SetFlags(log.LstdFlags | log.Lmsgprefix)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	self := os.Getenv("NODE_NAME")
	if self == "" {
		return errors.New("NODE_NAME is not set")
	}
	podSubnet := os.Getenv("POD_SUBNET")
	if podSubnet == "" {
		return errors.New("POD_SUBNET is not set")
	}
	client, err := connect()
	if err != nil {
		return err
	}
	if err := masquerade(ctx, podSubnet); err != nil {
		return err
	}

	// Any change of any node only wakes the loop below, which looks at them all.
	wake := make(chan struct{}, 1)
	changed := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(client.CoreV1().RESTClient(), "nodes", "", fields.Everything()),
		ObjectType:    &corev1.Node{},
		ResyncPeriod:  resync,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { changed() },
			UpdateFunc: func(any, any) { changed() },
			DeleteFunc: func(any) { changed() },
		},
	})
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil // told to stop
	}

	network := newNetwork(self, cniConfig)
	for {
		var retry <-chan time.Time
		if err := network.apply(nodes(store)); err != nil {
			log.Print(err)
			retry = time.After(retryDelay)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-retry:
		}
	}
}

// connect uses the pod's service account. kind names the control plane in
// CONTROL_PLANE_ENDPOINT: the Service address works only once kube-proxy does.
func connect() (*kubernetes.Clientset, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	if endpoint := os.Getenv("CONTROL_PLANE_ENDPOINT"); endpoint != "" {
		config.Host = "https://" + endpoint
	}
	return kubernetes.NewForConfig(config)
}

func nodes(store cache.Store) []*corev1.Node {
	var all []*corev1.Node
	for _, object := range store.List() {
		if node, ok := object.(*corev1.Node); ok {
			all = append(all, node)
		}
	}
	return all
}
