package chaos

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// failover is how long it takes until another replica leads.
const failover = 3 * leaseDuration

func processRows() []row {
	rows := []row{
		{name: "the scheduler is killed with pods waiting, and another one starts", quick: true, holds: "all pods are placed once the lease has run out", do: killed},
		{name: "the leader is killed while a standby runs", holds: "the standby takes over when the lease has run out", do: standby(syscall.SIGKILL, failover)},
		{name: "the leader gets SIGTERM while a standby runs", holds: "the standby has the lease within 5 s", do: standby(syscall.SIGTERM, 5*time.Second)},
		{name: "the leader is stopped past its lease and goes on",
			holds: "the standby leads, the old leader ends, no pod is bound twice", do: stoppedPastLease},
		{name: "the scheduler is stopped for three seconds", quick: true, holds: "it goes on with its lease", do: stopped},
		{name: "two schedulers lead under one name", holds: "every pod is bound once, strict ones to their data", do: twoLeaders},
		{name: "SIGTERM while the scheduler starts", quick: true, holds: "it ends within 10 s", do: termAt(func(*run) variant { return variant{notReady: true} })},
		{name: "SIGTERM while storage refuses connections", holds: "it ends within 10 s", do: termAt(func(r *run) variant {
			r.server.listener.shut()
			return variant{}
		})},
		{name: "SIGTERM while every call to storage hangs", quick: true, holds: "it ends within 10 s", do: termAt(func(r *run) variant {
			r.server.lie("", "", hangs)
			return variant{}
		})},
		{name: "SIGTERM while the token file is on a mount that hangs", quick: true, holds: "it ends within 10 s", do: termWithHungToken},
		{name: "SIGTERM while the API server hangs", holds: "it ends within 10 s", do: termAt(func(r *run) variant {
			r.proxy.fault(isAny, stalled)
			return variant{notReady: true}
		})},
		{name: "SIGTERM to a leader whose API server has come to hang", holds: "it ends within 10 s", do: termLeader},
		{name: "SIGTERM in the middle of a burst of pods", holds: "all pods are placed by its successor", do: termInBurst},
		{name: "SIGTERM comes ten times", holds: "it ends within 10 s", do: termAt(func(*run) variant { return variant{name: "often"} })},
		{name: "the scheduler starts while storage is away", quick: true,
			holds: "it becomes ready, soft pods are placed, strict ones when storage is back", do: startWithoutStorage},
		{name: "the scheduler starts while the API server is away", holds: "it waits or ends with a reason, and is ready when started after that", do: startWithoutAPIServer},
		{name: "the configuration names an endpoint that cannot be", quick: true, holds: "the start fails, with the field in the message", do: wrongConfig},
		{name: "the environment names an HTTPS proxy", quick: true, holds: "storage is dialled directly", do: proxied},
		{name: "the wall clock jumps by a day", holds: "the scheduler keeps its data, and new pods are placed", do: clockJump},
		{name: "the log cannot be written", holds: "pods are placed all the same", do: brokenLog},
		{name: "SIGUSR2 comes a hundred times", holds: "the state is dumped into the log, and pods are placed", do: dumps},
		{name: "the webhook is killed and started anew", quick: true, holds: "it answers within 10 s, with the same certificate", do: webhookKilled},
		{name: "the webhook gets SIGTERM while a review is under way", holds: "the review is answered, and it ends within 10 s", do: webhookTerm},
		{name: "the webhook gets SIGTERM while the API server hangs", holds: "it ends within 10 s", do: webhookTermHung},
		{name: "the webhook starts while the API server is away", holds: "it is not ready, does not crash, and is ready afterwards", do: webhookAlone},
		{name: "an open file limit of 64", holds: "the scheduler starts, and pods are placed", do: fewFiles},
	}
	for i := range rows {
		rows[i].group, rows[i].ends = "process", true
		if rows[i].within == 0 {
			rows[i].within = failover
		}
	}
	return rows
}

// another starts a scheduler beside the shared one, until the row is over.
func (r *run) another(v variant) *component {
	r.Helper()
	v.name = fmt.Sprintf("%s-%d-%d", orElse(v.name, "another"), r.runs, len(r.undo))
	c, err := r.startScheduler(r.ctx, v)
	if c != nil {
		r.later(func() { c.Kill() })
	}
	r.must(err)
	return c
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// succeed makes a component the shared one.
func (r *run) succeed(c *component) {
	c.goroutines, c.heap = r.scheduler.goroutines, r.scheduler.heap
	r.scheduler = c
}

// restart runs a new shared scheduler in place of one that has ended.
func (r *run) restart() {
	r.Helper()
	c, err := r.startScheduler(r.ctx, variant{name: "scheduler"})
	r.must(err)
	r.succeed(c)
}

func (r *run) leads(c *component, within time.Duration) {
	r.Helper()
	r.eventually(within, c.Name+" leads", func() error {
		if !c.Alive() {
			r.Fatalf("%s has ended: %s", c.Name, c.Tail(0, 3))
		}
		families, err := c.Metrics()
		if err != nil {
			return err
		}
		if leads, _ := families.Sum("leader_election_master_status"); leads != 1 {
			return errNotYet
		}
		return nil
	})
}

func killed(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	for i := range 20 {
		r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(holders...)
	}
	r.scheduler.Kill()
	r.restart()
}

func standby(signal syscall.Signal, within time.Duration) func(r *run) {
	return func(r *run) {
		holders := r.twoNodes()
		r.volume("data", at(holders...))
		second, err := r.startScheduler(r.ctx, variant{name: fmt.Sprintf("standby-%d", r.runs)})
		r.must(err)
		first := r.scheduler
		first.Signal(signal)
		begun := time.Now()
		for i := range 5 {
			r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(holders...)
		}
		r.succeed(second)
		r.leads(second, within)
		r.measured("led after %.1f s", time.Since(begun).Seconds())
		<-first.Done()
	}
}

func stoppedPastLease(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	second, err := r.startScheduler(r.ctx, variant{name: fmt.Sprintf("standby-%d", r.runs)})
	r.must(err)
	first := r.scheduler
	first.Signal(syscall.SIGSTOP)
	for i := range 5 {
		r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(holders...)
	}
	r.succeed(second)
	r.leads(second, failover)
	first.Signal(syscall.SIGCONT)
	for i := range 5 {
		r.create(strict(r.pod(fmt.Sprintf("late-%d", i), "data"))).on(holders...)
	}
	select {
	case <-first.Done():
	case <-time.After(leaseDuration):
		first.Kill()
		r.Fatalf("the old leader goes on beside the new one")
	}
}

func stopped(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	r.scheduler.Signal(syscall.SIGSTOP)
	for i := range 5 {
		r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(holders...)
	}
	time.Sleep(3 * time.Second)
	r.scheduler.Signal(syscall.SIGCONT)
}

// twoLeaders has a second scheduler that asks nobody whether it may.
func twoLeaders(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	r.another(variant{name: "usurper", change: func(config, _, _ map[string]any) {
		config["leaderElection"].(map[string]any)["leaderElect"] = false
	}})
	for i := range 30 {
		r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(holders...)
		r.create(r.pod(fmt.Sprintf("soft-%d", i), "data")).on(holders...)
	}
	r.allBound(later, 60)
}

// termAt starts a scheduler, and asks it to end in the middle of something.
func termAt(prepare func(r *run) variant) func(r *run) {
	return func(r *run) {
		v := prepare(r)
		often := v.name == "often"
		v.solo = "solo"
		c := r.another(v)
		if v.notReady {
			time.Sleep(1500 * time.Millisecond) // in the middle of its start
		}
		if often {
			for range 9 {
				c.Signal(syscall.SIGTERM)
			}
		}
		begun := time.Now()
		r.must(c.End(10 * time.Second))
		r.measured("ended after %.1f s", time.Since(begun).Seconds())
	}
}

// termLeader has seven seconds for the lease it cannot give back: its renewal deadline.
func termLeader(r *run) {
	c := r.another(variant{solo: "solo"})
	r.proxy.fault(isAny, stalled)
	begun := time.Now()
	r.must(c.End(10 * time.Second))
	r.measured("ended after %.1f s", time.Since(begun).Seconds())
}

func termWithHungToken(r *run) {
	c := r.another(variant{solo: "solo"})
	r.hangTokenFile()
	time.Sleep(7 * time.Second) // the file is read every five seconds
	begun := time.Now()
	r.must(c.End(10 * time.Second))
	r.measured("ended after %.1f s", time.Since(begun).Seconds())
}

func termInBurst(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	for i := range 60 {
		r.create(strict(r.pod(fmt.Sprintf("strict-%d", i), "data"))).on(holders...)
		if i == 20 {
			r.scheduler.Signal(syscall.SIGTERM)
		}
	}
	r.must(r.scheduler.End(10 * time.Second))
	r.restart()
}

func startWithoutStorage(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	r.server.listener.shut()
	c := r.another(variant{solo: "solo"})
	r.arrives(r.create(by("solo", r.pod("soft", "data"))).on(), soon)
	pod := r.create(by("solo", strict(r.pod("strict", "data")))).on(holders...)
	r.stays(pod, soon, 500*time.Millisecond, strictKnown)
	r.server.heal()
	begun := time.Now()
	r.arrives(pod, later)
	r.measured("bound %.1f s after storage was back", time.Since(begun).Seconds())
	r.must(c.End(10 * time.Second))
}

func startWithoutAPIServer(r *run) {
	r.proxy.listener.shut()
	c := r.another(variant{solo: "solo", notReady: true})
	time.Sleep(2 * time.Second)
	r.proxy.heal()
	if !c.Alive() {
		if log := c.Tail(0, 1); !strings.Contains(log, "refused") && !strings.Contains(log, "EOF") && !strings.Contains(log, "reset") {
			r.Fatalf("it ended without a reason: %s", log)
		}
		c = r.another(variant{solo: "solo", notReady: true})
	}
	r.must(c.Ready(r.ctx, patience))
}

func wrongConfig(r *run) {
	c := r.another(variant{solo: "solo", notReady: true, endpoint: "no endpoint at all://"})
	select {
	case <-c.Done():
	case <-time.After(soon):
		r.Fatalf("it runs with such a configuration")
	}
	if log := c.Said(0); !strings.Contains(log, "endpoint") {
		r.Fatalf("it says %s", c.Tail(0, 2))
	}
}

// proxied reaches storage by an address that proxies are used for, which loopback
// addresses are not.
func proxied(r *run) {
	address, err := outsideAddress()
	if err != nil {
		r.cannot(err.Error())
	}
	asked, err := startRecorder()
	r.must(err)
	r.later(func() { _ = asked.listener.Close() })
	proxy := "http://" + asked.listener.Addr().String()
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	r.another(variant{solo: "solo", endpoint: net.JoinHostPort(address, portOf(r.server.address())),
		env: []string{"HTTPS_PROXY=" + proxy, "https_proxy=" + proxy, "NO_PROXY=", "no_proxy="}})
	pod := r.create(by("solo", strict(r.pod("strict", "data")))).on(holders...)
	time.Sleep(time.Second)
	if n := asked.count(); n > 0 {
		r.Fatalf("the proxy was asked %d times", n)
	}
	r.arrives(pod, soon)
}

func clockJump(r *run) {
	r.cannot("our binaries are static, so that no library such as libfaketime moves their clock, and that of the machine is not the suite's to set")
}

func brokenLog(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	// A shell gives it a standard error that is full from the start.
	c := r.wrapped("full", `exec "$0" "$@" 2>/dev/full`)
	r.arrives(r.create(by("solo", strict(r.pod("strict", "data")))).on(holders...), later)
	r.must(c.End(10 * time.Second))
}

func fewFiles(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	c := r.wrapped("few", `ulimit -n 64; exec "$0" "$@"`)
	r.arrives(r.create(by("solo", strict(r.pod("strict", "data")))).on(holders...), later)
	r.must(c.End(10 * time.Second))
}

// wrapped starts a scheduler by way of a shell.
func (r *run) wrapped(name, script string) *component {
	r.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		r.cannot("there is no shell")
	}
	first := r.another(variant{name: name + "-model", solo: "solo", notReady: true})
	first.Kill()
	command := first.command
	command.Name, command.Args = name, append([]string{"-c", script, command.Path}, command.Args...)
	command.Path = shell
	c, err := startComponent(r.supervisor, command, first.Base)
	r.must(err)
	r.later(func() { c.Kill() })
	r.must(c.Ready(r.ctx, patience))
	return c
}

func dumps(r *run) {
	holders := r.twoNodes()
	r.volume("data", at(holders...))
	for range 100 {
		r.scheduler.Signal(syscall.SIGUSR2)
		time.Sleep(10 * time.Millisecond)
	}
	r.arrives(r.create(strict(r.pod("strict", "data"))).on(holders...), soon)
	if !strings.Contains(r.scheduler.Said(r.started[r.scheduler]), "Dump of the volume index") {
		r.Fatalf("nothing was dumped")
	}
}

func webhookKilled(r *run) {
	before, err := r.client.CoreV1().Secrets(systemNamespace).Get(r.ctx, secretName, metav1.GetOptions{})
	r.must(err)
	goroutines, heap := r.webhook.goroutines, r.webhook.heap
	r.webhook.Kill()
	begun := time.Now()
	r.webhook, r.hookPort, err = r.startWebhook(r.ctx, "webhook")
	r.must(err)
	r.webhook.goroutines, r.webhook.heap = goroutines, heap
	r.measured("ready after %.1f s", time.Since(begun).Seconds())
	after, err := r.client.CoreV1().Secrets(systemNamespace).Get(r.ctx, secretName, metav1.GetOptions{})
	r.must(err)
	if before.ResourceVersion != after.ResourceVersion {
		r.Fatalf("the certificate was made anew")
	}
	r.volume("data", at(node(1)))
	r.eventually(soon, "the webhook knows the claim", func() error { return r.review(r.pod("p", "data")).mutated() })
}

func webhookTerm(r *run) {
	c, port, err := r.startWebhook(r.ctx, fmt.Sprintf("webhook-%d", r.runs))
	r.must(err)
	r.later(func() { c.Kill() })
	answered := make(chan review, 1)
	go func() { answered <- r.reviewAt(port, r.pod("p")) }()
	time.Sleep(5 * time.Millisecond)
	c.Signal(syscall.SIGTERM)
	if a := <-answered; a.err != nil {
		r.Fatalf("the review was lost: %v", a.err)
	}
	r.must(c.End(10 * time.Second))
}

func webhookTermHung(r *run) {
	r.hookProxy.fault(isAny, stalled)
	r.hookProxy.cutWatches()
	c, _, err := r.beginWebhook(fmt.Sprintf("webhook-%d", r.runs))
	r.must(err)
	r.later(func() { c.Kill() })
	time.Sleep(1500 * time.Millisecond) // in the middle of its start
	begun := time.Now()
	r.must(c.End(10 * time.Second))
	r.measured("ended after %.1f s", time.Since(begun).Seconds())
}

func webhookAlone(r *run) {
	r.hookProxy.fault(isAny, answers(503, "ServiceUnavailable"))
	r.hookProxy.cutWatches()
	c, _, err := r.beginWebhook(fmt.Sprintf("webhook-%d", r.runs))
	r.must(err)
	r.later(func() { c.Kill() })
	time.Sleep(2 * time.Second)
	if !c.Alive() {
		r.Fatalf("it ended: %s", c.Tail(0, 2))
	}
	if _, err := c.Get("/readyz"); err == nil {
		r.Fatalf("it says that it is ready")
	}
	r.hookProxy.heal()
	r.eventually(40*time.Second, "the webhook is ready", func() error { _, err := c.Get("/readyz"); return err })
}
