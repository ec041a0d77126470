package chaos

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/internal/console"
	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/controlplane"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
	"github.com/hyperconverge/scheduler/internal/sandbox/ports"
	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/deploy"
)

const (
	root            = "../.." // the project, seen from this folder
	systemNamespace = "hyperconverge-system"
	schedulerName   = "hyperconverge-scheduler" // of the account, the profile and the lease
	webhookName     = "hyperconverge-webhook"   // of the account, the Service and the configuration
	secretName      = "hyperconverge-webhook-certificates"

	// worldNodes is the number of Kubernetes nodes. node-4, node-8 and node-12 have no
	// storage; node-1 and node-2 share a rack, node-5 and node-6 another one.
	worldNodes = 12

	// The settings that rows wait for.
	leaseDuration = 10 * time.Second
	maxStaleness  = 8 * time.Second
	gracePeriod   = time.Second
)

// world is the cluster that all rows share.
type world struct {
	dir        *workdir.Dir
	logs       string
	authority  *authority
	storage    *openstoragesim.Cluster
	sim        *openstoragesim.Server
	tokens     *openstoragesim.Tokens
	server     *storageServer
	token      string // that the storage server accepts at the moment
	secrets    []string
	plane      *controlplane.ControlPlane
	config     *rest.Config // of an administrator
	client     kubernetes.Interface
	applier    *deploy.Applier
	manifests  []*unstructured.Unstructured
	pods       corelisters.PodLister
	nodes      []fakenodes.Node
	proxy      *apiProxy // of the scheduler
	hookProxy  *apiProxy // of the webhook
	supervisor *process.Supervisor
	scheduler  *component
	webhook    *component
	hookPort   int

	limits  map[string]int64 // Deployment -> memory in bytes
	hookEnv []string
	close   []func()
	runs    int
	run     sync.WaitGroup
}

// startWorld brings everything up, and takes down what it has begun if that fails.
func startWorld(ctx context.Context, logs string) (_ *world, err error) {
	w := &world{logs: logs, limits: map[string]int64{}}
	defer func() {
		if err != nil {
			w.stop()
		}
	}()
	if w.dir, err = workdir.Create(os.TempDir()); err != nil {
		return nil, err
	}
	w.close = append(w.close, func() { _ = w.dir.Remove() })
	for _, step := range []func(context.Context) error{
		w.startStorage, w.startControlPlane, w.furnish, w.applyManifests, w.startProxies, w.startComponents,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) stop() {
	for _, f := range slices.Backward(w.close) {
		f()
	}
}

func (w *world) tokenFile() string { return w.dir.Join("storage-token") }
func (w *world) caFile() string    { return w.dir.Join("storage-ca.crt") }

func (w *world) startStorage(context.Context) (err error) {
	w.storage, w.tokens = openstoragesim.NewCluster(openstoragesim.Options{}), &openstoragesim.Tokens{}
	w.sim = openstoragesim.NewServer(w.storage, openstoragesim.ServerOptions{Tokens: w.tokens})
	if err := w.sim.Start("127.0.0.1:0"); err != nil {
		return err
	}
	w.close = append(w.close, w.sim.Stop)
	if err := w.newToken("first"); err != nil {
		return err
	}
	if w.authority, err = newAuthority(); err != nil {
		return err
	}
	if err := writeFile(w.caFile(), w.authority.pem()); err != nil {
		return err
	}
	pair, err := w.authority.pair(storageName, time.Now().Add(time.Hour))
	if err != nil {
		return err
	}
	// On all addresses, so that one which is no loopback address reaches it, too.
	if w.server, err = startStorageServer(":0", w.sim.Endpoint(), pair); err != nil {
		return err
	}
	w.close = append(w.close, w.server.stop)
	return nil
}

// newToken makes a token the only good one, and puts it into the file.
func (w *world) newToken(name string) error {
	// What follows eyJ would be a JSON object in base64.
	w.token = "eyJhbGciOiJIUzI1NiJ9." + name + "bearer.signature-of-" + name
	w.secrets = append(w.secrets, w.token)
	w.tokens.Replace(map[string]openstoragesim.Token{
		w.token: {User: "scheduler", Roles: []string{openstoragesim.RoleAdmin}, Groups: []string{openstoragesim.AdminGroup}},
	})
	return writeFile(w.tokenFile(), []byte(w.token))
}

// binaries is where make puts those of the minor of Kubernetes that it is asked for.
func binaries() string { return cmp.Or(os.Getenv("BIN"), "bin") }

func (w *world) startControlPlane(ctx context.Context) (err error) {
	bin, err := filepath.Abs(filepath.Join(root, binaries()))
	if err != nil {
		return err
	}
	silent, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	w.close = append(w.close, func() { _ = silent.Close() })
	nobody, _ := console.New(silent, func() {})
	w.plane, err = controlplane.Start(ctx, controlplane.Options{
		BinDir: bin, Dir: w.dir, LogDir: w.logs, WithoutSchedulers: true, Console: nobody,
		StorageEndpoint: w.server.address(),
	})
	if err != nil {
		return err
	}
	w.close = append(w.close, w.plane.Close)
	w.config = w.plane.RESTConfig()
	if w.client, err = kubernetes.NewForConfig(w.config); err != nil {
		return err
	}
	if w.applier, err = deploy.NewApplier(w.config); err != nil {
		return err
	}
	if err := w.plane.StartControllers(ctx); err != nil {
		return err
	}
	w.supervisor = process.NewSupervisor(5 * time.Second)
	w.close = append(w.close, w.supervisor.Close)

	factory := informers.NewSharedInformerFactory(w.client, 0)
	w.pods = factory.Core().V1().Pods().Lister()
	informing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	factory.Core().V1().Pods().Informer()
	factory.Start(informing.Done())
	factory.WaitForCacheSync(informing.Done())
	w.close = append(w.close, func() { cancel(); factory.Shutdown() })
	return nil
}

// furnish makes the nodes and plays their kubelets.
func (w *world) furnish(ctx context.Context) error {
	nodes, err := fakenodes.Layout(worldNodes)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if node.Storage {
			made, err := w.storage.AddNode(openstoragesim.Node{
				SchedulerNodeName: node.Name, MgmtIP: node.IP.String(), DataIP: node.IP.String(),
				Region: node.Region, Zone: node.Zone, Rack: node.Rack,
			})
			if err != nil {
				return err
			}
			node.StorageID = made.ID
		}
		w.nodes = append(w.nodes, node)
	}
	if err := w.register(ctx, w.nodes); err != nil {
		return err
	}
	if _, err := w.client.StorageV1().CSIDrivers().Create(ctx, driver.Object(), metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, class := range driver.StorageClasses() {
		if _, err := w.client.StorageV1().StorageClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	playing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.run.Go(func() { _ = fakenodes.Run(playing, w.client, w.nodes) }) // only the end of the world ends it
	w.close = append(w.close, func() { cancel(); w.run.Wait() })
	return nil
}

// register makes nodes that have room for all pods of a row.
func (w *world) register(ctx context.Context, nodes []fakenodes.Node) error {
	if err := fakenodes.Register(ctx, w.client, nodes); err != nil {
		return err
	}
	for _, n := range nodes {
		room := []byte(`{"status":{"capacity":{"pods":"5000","cpu":"1000"},"allocatable":{"pods":"5000","cpu":"1000"}}}`)
		if _, err := w.client.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, room, metav1.PatchOptions{}, "status"); err != nil {
			return err
		}
	}
	return nil
}

// applyManifests applies what is deployed. Its pods are played by processes.
func (w *world) applyManifests(ctx context.Context) (err error) {
	if w.manifests, err = deploy.Build(filepath.Join(root, "manifests/base")); err != nil {
		return err
	}
	if err := w.apply(ctx, machineDefinition); err != nil {
		return err
	}
	for _, object := range deploy.Ordered(w.manifests) {
		if object.GetKind() == "Deployment" {
			if err := w.noteDeployment(object); err != nil {
				return err
			}
			continue
		}
		if err := w.apply(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// noteDeployment takes the memory limit, and the webhook's environment.
func (w *world) noteDeployment(object *unstructured.Unstructured) error {
	containers, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		return fmt.Errorf("the containers of %s: %w", object.GetName(), err)
	}
	container := containers[0].(map[string]any)
	limit, _, err := unstructured.NestedString(container, "resources", "limits", "memory")
	if err != nil {
		return err
	}
	quantity, err := resource.ParseQuantity(limit)
	if err != nil {
		return err
	}
	w.limits[object.GetName()] = quantity.Value()
	if object.GetName() != webhookName {
		return nil
	}
	variables, _, err := unstructured.NestedSlice(container, "env")
	for _, v := range variables {
		if value, ok := v.(map[string]any)["value"].(string); ok {
			w.hookEnv = append(w.hookEnv, v.(map[string]any)["name"].(string)+"="+value)
		}
	}
	return err
}

// apply does what kubectl apply --server-side does. Nothing calls the webhook: API
// servers would look for its Service in a network that is not there.
func (w *world) apply(ctx context.Context, object *unstructured.Unstructured) error {
	if object.GetKind() == "MutatingWebhookConfiguration" {
		object = object.DeepCopy()
		hooks, _, _ := unstructured.NestedSlice(object.Object, "webhooks")
		for _, hook := range hooks {
			hook.(map[string]any)["namespaceSelector"] = map[string]any{"matchLabels": map[string]any{"nowhere": "true"}}
		}
		if err := unstructured.SetNestedSlice(object.Object, hooks, "webhooks"); err != nil {
			return err
		}
	}
	return kit.Wait(ctx, 20*time.Second, object.GetName()+" is applied", func() error {
		err := w.applier.Apply(ctx, object)
		if err != nil {
			w.applier.Mapper.Reset() // a definition that was made moments ago
		}
		return err
	})
}

// machineDefinition is as much of KubeVirt as a cluster with virtual machines has.
var machineDefinition = &unstructured.Unstructured{Object: map[string]any{
	"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
	"metadata": map[string]any{"name": "virtualmachineinstances.kubevirt.io"},
	"spec": map[string]any{
		"group": "kubevirt.io", "scope": "Namespaced",
		"names": map[string]any{"plural": "virtualmachineinstances", "singular": "virtualmachineinstance", "kind": "VirtualMachineInstance", "shortNames": []any{"vmi"}},
		"versions": []any{map[string]any{
			"name": "v1", "served": true, "storage": true,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
		}},
	},
}}

// accountToken is a token of a ServiceAccount of the manifests.
func (w *world) accountToken(ctx context.Context, account string) (token string, err error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](6 * 3600)}}
	err = kit.Wait(ctx, soon, "a token of "+account, func() error {
		made, err := w.client.CoreV1().ServiceAccounts(systemNamespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
		if err == nil {
			token = made.Status.Token
			w.secrets = append(w.secrets, token)
		}
		return err
	})
	return token, err
}

// kubeconfig writes one and returns its path.
func (w *world) kubeconfig(name, server string, ca []byte, token string) (string, error) {
	path := w.dir.Join(name + ".kubeconfig")
	return path, clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: server, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, path)
}

// startProxies puts a proxy between each of our components and the API server, and
// writes kubeconfigs: NAME goes through the proxy, NAME-direct does not.
func (w *world) startProxies(ctx context.Context) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.config.CAData)
	pair, err := w.authority.pair("kubernetes.test", time.Now().Add(24*time.Hour))
	if err != nil {
		return err
	}
	for _, of := range []struct {
		proxy   **apiProxy
		account string
	}{{&w.proxy, schedulerName}, {&w.hookProxy, webhookName}} {
		proxy, err := startAPIProxy(w.config.Host, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, pair)
		if err != nil {
			return err
		}
		*of.proxy = proxy
		w.close = append(w.close, proxy.stop)
		token, err := w.accountToken(ctx, of.account)
		if err != nil {
			return err
		}
		if _, err := w.kubeconfig(of.account, proxy.url(), w.authority.pem(), token); err != nil {
			return err
		}
		if _, err := w.kubeconfig(of.account+"-direct", w.config.Host, w.config.CAData, token); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) startComponents(ctx context.Context) (err error) {
	if w.scheduler, err = w.startScheduler(ctx, variant{name: "scheduler"}); err != nil {
		return err
	}
	w.webhook, w.hookPort, err = w.startWebhook(ctx, "webhook")
	return err
}

// variant is in which way a scheduler differs from the one that all rows share.
type variant struct {
	name string
	// solo makes it a profile and a lease of this name, so that it works beside the
	// shared one.
	solo string
	// endpoint of the storage API, if it is another one.
	endpoint string
	change   func(config, args, storage map[string]any)
	env      []string
	flags    []string
	// closed keeps metrics and profiles from those who show no token.
	closed bool
	// notReady is for those that are not expected to become ready.
	notReady bool
}

// startScheduler runs the scheduler with the configuration of the manifests, but
// for what depends on this machine, and with shorter times.
func (w *world) startScheduler(ctx context.Context, v variant) (*component, error) {
	content, err := os.ReadFile(filepath.Join(root, "manifests/base/scheduler/scheduler.yaml"))
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if err := yaml.UnmarshalStrict(content, &config); err != nil {
		return nil, err
	}
	profile := config["profiles"].([]any)[0].(map[string]any)
	args := profile["pluginConfig"].([]any)[0].(map[string]any)["args"].(map[string]any)
	storage := args["openStorage"].(map[string]any)
	election := config["leaderElection"].(map[string]any)
	kubeconfig := w.dir.Join(schedulerName + ".kubeconfig")
	direct := w.dir.Join(schedulerName + "-direct.kubeconfig")
	config["clientConnection"].(map[string]any)["kubeconfig"] = kubeconfig
	config["enableProfiling"] = true
	maps.Copy(election, map[string]any{"leaseDuration": leaseDuration.String(), "renewDeadline": "7s", "retryPeriod": "1s"})
	maps.Copy(args, map[string]any{"maxStaleness": maxStaleness.String(), "unknownVolumeGracePeriod": gracePeriod.String(), "debugPort": 0})
	maps.Copy(storage, map[string]any{
		"endpoint": "127.0.0.1:" + portOf(w.server.address()), "nodePollInterval": "300ms", "requestTimeout": "2s",
		"watchBackoff": "1s", "resyncInterval": "20s", "tokenFile": w.tokenFile(),
		"tls": map[string]any{"enabled": true, "caFile": w.caFile(), "serverName": storageName},
	})
	if v.endpoint != "" {
		storage["endpoint"] = v.endpoint
	}
	if v.solo != "" {
		profile["schedulerName"] = v.solo
		election["leaderElect"] = false
	}
	if v.change != nil {
		v.change(config, args, storage)
	}
	written, err := yaml.Marshal(config)
	if err != nil {
		return nil, err
	}
	path := w.dir.Join(v.name + ".yaml")
	if err := writeFile(path, written); err != nil {
		return nil, err
	}
	port, err := kit.FreePort()
	if err != nil {
		return nil, err
	}
	open := "/healthz,/readyz,/livez"
	if !v.closed {
		open += ",/metrics,/debug/*"
	}
	c, err := startComponent(w.supervisor, process.Command{
		Name: v.name, Path: filepath.Join(root, binaries(), "scheduler"), LogFile: filepath.Join(w.logs, v.name+".log"), Env: v.env,
		Args: append([]string{
			"--config=" + path, "--bind-address=" + ports.Loopback, "--secure-port=" + strconv.Itoa(port),
			"--authentication-kubeconfig=" + direct, "--authorization-kubeconfig=" + direct,
			"--authorization-always-allow-paths=" + open,
			"--logging-format=json", "--v=2",
		}, v.flags...),
	}, "https://127.0.0.1:"+strconv.Itoa(port))
	if err != nil || v.notReady {
		return c, err
	}
	return c, c.Ready(ctx, patience)
}

// startWebhook runs the webhook, and waits until it is ready.
func (w *world) startWebhook(ctx context.Context, name string, flags ...string) (c *component, port int, err error) {
	if c, port, err = w.beginWebhook(name, flags...); err == nil {
		err = c.Ready(ctx, patience)
	}
	return c, port, err
}

// beginWebhook runs the webhook and returns its admission port.
func (w *world) beginWebhook(name string, flags ...string) (*component, int, error) {
	ops, err := kit.FreePort()
	if err != nil {
		return nil, 0, err
	}
	port, err := kit.FreePort()
	if err != nil {
		return nil, 0, err
	}
	c, err := startComponent(w.supervisor, process.Command{
		Name: name, Path: filepath.Join(root, binaries(), "webhook"), LogFile: filepath.Join(w.logs, name+".log"), Env: w.hookEnv,
		Args: append([]string{
			"--kubeconfig=" + w.dir.Join(webhookName+".kubeconfig"), "--namespace=" + systemNamespace,
			"--scheduler-name=" + schedulerName, "--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port),
			"--ops-address=127.0.0.1:" + strconv.Itoa(ops), "--shutdown-delay=100ms", "--shutdown-timeout=0s", "--certificate-settle=1s",
		}, flags...),
	}, "http://127.0.0.1:"+strconv.Itoa(ops))
	return c, port, err
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// node is one of the world's nodes by its number.
func node(n int) string { return "node-" + strconv.Itoa(n) }

// storageID is the storage node on a node.
func (w *world) storageID(node string) string {
	for _, n := range w.nodes {
		if n.Name == node {
			return n.StorageID
		}
	}
	return ""
}

// outsideAddress is an address of this machine that is not a loopback one.
func outsideAddress() (string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
			return ip.IP.String(), nil
		}
	}
	return "", errors.New("this machine has no address but its loopback ones")
}

// waitingFor is what a pod's condition says of why it waits.
func waitingFor(pod *v1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == v1.PodScheduled && c.Status == v1.ConditionFalse {
			return strings.Join(strings.Fields(c.Message), " ")
		}
	}
	return ""
}
