package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit/child"
)

// whileFaulty is what nearly every fault of storage must leave alone: pods of a
// volume that is known go to its replicas, strict ones too, and a strict pod of a
// volume that comes meanwhile gets there when the fault is over at the latest.
func whileFaulty(fault func(r *run)) func(r *run) {
	return func(r *run) {
		holders := r.twoNodes()
		known := r.volume("known", at(holders...))
		r.knows(known)
		r.arrives(r.create(r.pod("first", "known")).on(holders...), soon)
		fault(r)
		r.arrives(r.create(r.pod("during", "known")).on(holders...), soon)
		r.arrives(r.create(strict(r.pod("strict-during", "known"))).on(holders...), soon)
		r.volume("new", at(holders...))
		r.create(strict(r.pod("new", "new"))).on(holders...)
		time.Sleep(time.Second) // let it hurt
	}
}

// lies is a fault of one method.
func lies(method string, a answer) func(r *run) {
	return whileFaulty(func(r *run) { r.server.lie(method, "", a) })
}

const keepsGoing = "known volumes keep their replicas, strict pods of new ones get theirs afterwards"

func storageRows() []row {
	rows := []row{
		{name: "the storage API refuses connections", quick: true, do: whileFaulty(func(r *run) { r.server.listener.shut() })},
		{name: "every connection to storage is cut ten times a second", quick: true, do: whileFaulty(func(r *run) { r.keepCutting(r.server.listener, 100*time.Millisecond) })},
		{name: "every call hangs", do: lies("", hangs)},
		{name: "every call takes a second", do: lies("", slow(time.Second))},
		{name: "every answer is garbage", quick: true, do: lies("", says(garbage))},
		{name: "every answer is empty", do: lies("", says(nil))},
		{name: "the storage API answers with codes that do not exist", quick: true, holds: keepsGoing + ", and the codes make no more than 20 series", do: oddCodes},

		{name: "the list of nodes is cut off in the middle", do: lies(listNodes, changes(truncated))},
		{name: "the list of nodes is empty", quick: true, do: lies(listNodes, says(nil))},
		{name: "a record in the list of nodes holds invalid UTF-8", quick: true,
			holds: "the other records count: a node that goes Offline is seen to", do: spoiledNodeList},
		{name: "a node has a status that nobody knows", holds: "it counts as Offline, the others stay", do: unknownStatus},
		{name: "the list of nodes names a node twice, Offline and Online", holds: "the record that is Online wins", do: doubledNode},
		{name: "the list of nodes has 20 MiB of fields that nobody knows", do: lies(listNodes, changes(padded(20)))},
		{name: "the list of nodes has 300 MiB", holds: keepsGoing + "; the answer is refused, not kept", do: lies(listNodes, changes(padded(300)))},
		{name: "the list of nodes names none of the nodes that Kubernetes has", do: lies(listNodes, says(foreignNodes))},

		{name: "an answer to Inspect is cut off in the middle", do: lies(inspect, changes(truncated))},
		{name: "an answer to Inspect is of another volume", do: lies(inspect, says(inspected(volumeOf("4711", "nowhere"))))},
		{name: "an answer to Inspect has no replicas", do: lies(inspect, changes(func([]byte) []byte { return inspected(text(volumeID, "1")) }))},
		{name: "an answer to Inspect holds invalid UTF-8", do: lies(inspect, says(inspected(message(text(volumeID, "1"), text(volumeAttached, "\xff\xfe")))))},
		{name: "storage says that every volume is in the trash can", do: lies(inspect, changes(func(b []byte) []byte { return append(b, inspected(number(volumeTrashcan, 1))...) }))},
		{name: "storage says that every volume is deleted", do: lies(inspect, changes(func(b []byte) []byte { return append(b, inspected(number(volumeState, 9))...) }))},
		{name: "a volume has a state and a status from the future", do: lies(inspect, changes(func(b []byte) []byte {
			return append(b, inspected(message(number(volumeState, 999), number(11, 999)))...)
		}))},
		{name: "twenty Inspects are answered with 100 MiB each", quick: true,
			holds: "such answers are refused: the process grows by less than 300 MiB", do: fatInspects},
		{name: "a volume has a replica set of 100 000 nodes", quick: true,
			holds: "pods of other volumes are bound within 3 s, and 20 such volumes cost less than 5 s of processor time", do: endlessSet},
		{name: "one volume's Inspect hangs, all others answer", quick: true, holds: "new volumes are known within 5 s all the same", do: oneHangs},
		{name: "30 volumes' Inspects hang", holds: "new volumes are known within 5 s all the same", do: manyHang},
		{name: "one volume's Inspect fails with Internal", holds: "its strict pod waits, and goes to its replicas when it is over", do: oneFails(codes.Internal)},
		{name: "one volume is refused to our token", holds: "its strict pod waits, and goes to its replicas when it is over", do: oneFails(codes.PermissionDenied)},
		{name: "storage does not know a volume that Kubernetes has", holds: "its strict pod waits, and goes to its replicas when it is over", do: oneFails(codes.NotFound)},

		{name: "the list of volumes is garbage", do: lies(listVolumes, says(garbage))},
		{name: "the list of volumes has 20 MiB of ids", do: lies(listVolumes, says(text(1, strings.Repeat("9", 20<<20))))},
		{name: "the search by name answers with a foreign volume", holds: "the strict pod of an unknown name waits", do: foreignName},

		{name: "the watch is not there", quick: true, do: lies2(watch, fails(codes.Unimplemented))},
		{name: "the watch ends at once, again and again", do: lies2(watch, fails(codes.Unavailable))},
		{name: "the watch opens and says nothing", do: lies2(watch, hangs)},
		{name: "an event of the watch holds invalid UTF-8", quick: true,
			holds: "the watch goes on: no more than two are opened in four seconds, and changes are followed", do: spoiledEvent},
		{name: "the watch sends garbage", do: lies2(watch, says(garbage))},
		{name: "the watch says that every volume is deleted", do: whileFaulty(deletedByWatch)},
		{name: "the watch floods us with events of foreign volumes", do: whileFaulty(flood(func(i int) wire { return volumeOf(strconv.Itoa(1e9+i), "x") }))},
		{name: "the watch floods us with events of one volume of ours", holds: keepsGoing + ", and it is inspected less than 1500 times", do: floodOfOurs},
		{name: "the watch sends an event of 3 MiB", do: whileFaulty(flood3)},
		{name: "the watch sends events without a volume", do: whileFaulty(flood(func(int) wire { return nil }))},

		{name: "the token is rotated", quick: true, holds: "calls carry the new one within 10 s", do: rotated},
		{name: "the token file goes away", holds: keepsGoing + ", with the last token", do: whileFaulty(tokenGone)},
		{name: "the token file is empty", do: whileFaulty(tokenIs(""))},
		{name: "the token file holds a page of text", do: whileFaulty(tokenIs(strings.Repeat("not a token\n", 1000)))},
		{name: "the token file holds 64 MiB", holds: keepsGoing + "; it is told as a problem", do: whileFaulty(fatToken)},
		{name: "the token file is on a mount that hangs", quick: true, holds: "calls go on with the last token", do: hungToken},
		{name: "the token is revoked", do: whileFaulty(func(r *run) {
			r.tokens.Replace(nil)
			r.later(func() { r.must(r.newToken(fmt.Sprint("after-", r.runs))) })
		})},

		{name: "the storage server's certificate is renewed", quick: true, do: whileFaulty(certificate(storageName, time.Hour))},
		{name: "the storage server's certificate has expired", do: whileFaulty(certificate(storageName, -time.Minute))},
		{name: "the storage server's certificate is for another name", quick: true, do: whileFaulty(certificate("elsewhere.test", time.Hour))},
		{name: "another authority signs the storage server's certificate", holds: "the file with the authorities is read anew", do: otherAuthority(true)},
		{name: "an authority that we do not trust signs the storage server's certificate", holds: "nothing is sent to it", do: otherAuthority(false)},
		{name: "the file with the storage authorities is broken", do: whileFaulty(brokenAuthorities)},
	}
	for _, code := range []codes.Code{codes.Unavailable, codes.Internal, codes.PermissionDenied, codes.Unauthenticated, codes.ResourceExhausted, codes.DataLoss} {
		rows = append(rows, row{name: "every call is answered with " + code.String(), quick: code == codes.Unavailable, do: lies("", fails(code))})
	}
	for _, method := range []string{listNodes, inspect, listVolumes} {
		rows = append(rows,
			row{name: method + " hangs", do: lies(method, hangs)},
			row{name: method + " is not implemented", do: lies(method, fails(codes.Unimplemented))},
			row{name: method + " answers with garbage", do: lies(method, says(garbage))},
		)
	}
	for i := range rows {
		rows[i].group = "storage"
		if rows[i].holds == "" {
			rows[i].holds = keepsGoing
		}
		if rows[i].within == 0 {
			rows[i].within = later
		}
	}
	return rows
}

// lies2 is lies for the watch, which has to be opened anew to be lied about.
func lies2(method string, a answer) func(r *run) {
	return whileFaulty(func(r *run) {
		r.server.lie(method, "", a)
		r.server.listener.cut()
	})
}

// keepCutting breaks all connections again and again until the fault is over.
func (r *run) keepCutting(l *listener, every time.Duration) {
	done := make(chan struct{})
	r.later(func() { close(done) })
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(every):
				l.cut()
			}
		}
	}()
}

func oddCodes(r *run) {
	whileFaulty(func(r *run) {
		next := codes.Code(1000)
		r.server.lie(listNodes, "", func(c *call, truth func() ([]byte, error)) ([]byte, error) {
			next++
			return fails(next)(c, truth)
		})
		r.server.lie(inspect, "", func(c *call, truth func() ([]byte, error)) ([]byte, error) {
			next++
			return fails(next)(c, truth)
		})
	})(r)
	time.Sleep(6 * time.Second)
	codesSeen := map[string]bool{}
	for _, m := range r.metrics()["scheduler_hyperconverge_storage_requests_total"].GetMetric() {
		codesSeen[child.Label(m, "code")] = true
	}
	r.measured("%d codes in the metrics", len(codesSeen))
	if len(codesSeen) > 20 {
		r.Fatalf("the metrics have %d codes", len(codesSeen))
	}
}

// spoiledNodeList adds a record that is no text, and has a node go Offline.
func spoiledNodeList(r *run) {
	r.server.lie(listNodes, "", changes(func(b []byte) []byte {
		return append(b, text(fieldNode, message(text(nodeID, "spoiled"), text(nodeHostname, "\xff\xfe\xfd")))...)
	}))
	holders := []string{node(1), node(5)}
	r.volume("data", at(holders...))
	r.must(r.storage.SetNodeState(r.storageID(node(1)), openstoragesim.StatusOffline))
	r.eventually(soon, "the metrics count a node as Offline", func() error {
		if offline, _ := r.metrics().Sum("scheduler_hyperconverge_nodes", "state", "Offline"); offline != 1 {
			return fmt.Errorf("%v are", offline)
		}
		return nil
	})
	r.arrives(r.create(strict(r.pod("strict", "data"))).on(node(5)), soon)
}

func unknownStatus(r *run) {
	id := r.storageID(node(1))
	r.volume("data", at(node(1), node(5)))
	r.server.lie(listNodes, "", changes(func(b []byte) []byte {
		return append(b, text(fieldNode, message(text(nodeID, id), text(nodeHostname, node(1)), number(nodeStatus, 77)))...)
	}))
	// The other record of the node, which is Online, still wins.
	r.arrives(r.create(strict(r.pod("strict", "data"))).on(node(1), node(5)), soon)
}

func doubledNode(r *run) {
	r.volume("data", at(node(1)))
	r.server.lie(listNodes, "", changes(func(b []byte) []byte {
		offline := text(fieldNode, message(text(nodeID, "old-record"), text(nodeHostname, node(1)), number(nodeStatus, 3)))
		return append(offline, b...)
	}))
	r.nodesListed()
	r.arrives(r.create(strict(r.pod("strict", "data"))).on(node(1)), soon)
}

var foreignNodes = message(
	text(fieldNode, message(text(nodeID, "a"), text(nodeHostname, "elsewhere-1"), number(nodeStatus, 2))),
	text(fieldNode, message(text(nodeID, "b"), text(nodeHostname, "elsewhere-2"), number(nodeStatus, 2))))

// fatInspects has answers that are a thousand times as large as they should be.
func fatInspects(r *run) {
	// One answer for all: to build them would cost the machine more than to refuse them.
	r.server.lie(inspect, "", says(padded(100)(inspected(volumeOf("1", r.twoNodes()...)))))
	before, _ := r.scheduler.Resident()
	for i := range 20 {
		name := fmt.Sprintf("fat-%d", i)
		r.must(r.bind(name, r.inStorage(name, at(r.twoNodes()...)), vol{}))
		r.create(r.pod(name, name)).on()
	}
	time.Sleep(6 * time.Second)
	_, peak := r.scheduler.Resident()
	r.measured("the scheduler grew by %d MiB", (peak-before)>>20)
	if grown := (peak - before) >> 20; grown > 300 {
		r.Fatalf("the scheduler grew by %d MiB", grown)
	}
}

// endlessSet has volumes with replicas on nodes without end.
func endlessSet(r *run) {
	ids := make([]string, 100_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("%08d-0000-0000-0000-000000000000", i)
	}
	busy := r.scheduler.busy()
	for i := range 20 {
		name := fmt.Sprintf("endless-%d", i)
		handle := r.inStorage(name, at(r.twoNodes()...))
		r.server.lie(inspect, handle, says(inspected(volumeOf(handle, ids...))))
		r.must(r.bind(name, handle, vol{}))
		r.create(r.pod(name, name))
	}
	begun := time.Now()
	holders := r.twoNodes()
	r.volume("other", at(holders...))
	r.arrives(r.create(strict(r.pod("other", "other"))).on(holders...), soon)
	honest := time.Since(begun)
	time.Sleep(3 * time.Second)
	took := r.scheduler.busy() - busy
	r.measured("another pod was bound after %.1f s, %.1f s of processor time", honest.Seconds(), took.Seconds())
	if honest > 3*time.Second {
		r.Errorf("another pod had to wait for %v", honest)
	}
	if took > 5*time.Second {
		r.Errorf("it cost %v of processor time", took)
	}
}

func oneHangs(r *run) {
	hung := r.volume("hung", at(node(1)))
	r.server.lie(inspect, hung, hangs)
	r.create(strict(r.pod("hung", "hung"))).on(node(1))
	r.othersAreKnown()
}

func manyHang(r *run) {
	for i := range 30 {
		name := fmt.Sprintf("hung-%d", i)
		handle := r.inStorage(name, at(node(1)))
		r.server.lie(inspect, handle, hangs)
		r.must(r.bind(name, handle, vol{}))
		r.create(strict(r.pod(name, name))).on(node(1))
	}
	time.Sleep(time.Second)
	r.othersAreKnown()
}

func (r *run) othersAreKnown() {
	for i := range 3 {
		name := fmt.Sprintf("other-%d", i)
		holders := r.twoNodes()
		r.volume(name, at(holders...))
		begun := time.Now()
		r.arrives(r.create(strict(r.pod(name, name))).on(holders...), 5*time.Second)
		r.measured("known after %.1f s", time.Since(begun).Seconds())
	}
}

func oneFails(code codes.Code) func(r *run) {
	return func(r *run) {
		holders := r.twoNodes()
		handle := r.inStorage("data", at(holders...))
		r.server.lie(inspect, handle, fails(code))
		// What the watch would say of it.
		r.server.lie(watch, "", fails(codes.Unavailable))
		r.server.listener.cut()
		r.bound("data", handle, vol{})
		pod := r.create(strict(r.pod("strict", "data"))).on(holders...)
		r.stays(pod, soon, 2*time.Second, "preferLocalNodeOnly")
	}
}

func foreignName(r *run) {
	r.server.lie(findByName, "", says(text(1, inspected(volumeOf("4711", r.storageID(node(1)))))))
	r.volume("data", vol{handle: "a-name-that-nobody-has", inTree: true})
	pod := r.create(strict(r.pod("strict", "data")))
	r.stays(pod, soon, time.Second, "preferLocalNodeOnly")
}

// spoiledEvent lets the watch of the simulated storage through, after one event
// that is no text, and again every second.
func spoiledEvent(r *run) {
	r.server.lie(watch, "", func(c *call, _ func() ([]byte, error)) ([]byte, error) {
		for {
			spoiled := event(message(text(volumeID, "1"), text(volumeAttached, "\xff\xfe")))
			if err := c.send(spoiled); err != nil {
				return nil, err
			}
			select {
			case <-c.ctx.Done():
				return nil, c.ctx.Err()
			case <-c.ended:
				return nil, c.hang()
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	r.server.listener.cut()
	time.Sleep(2 * time.Second)
	r.server.forget()
	time.Sleep(4 * time.Second)
	opened := r.server.count(watch)
	r.measured("%d watches were opened in four seconds", opened)
	if opened > 2 {
		r.Fatalf("%d watches were opened in four seconds", opened)
	}
	// Rows before this one may have cut watches, so that the next is waited for.
	r.eventually(2*soon, "the watch is open", func() error {
		if open, _ := r.metrics().Sum("scheduler_hyperconverge_storage_watch_open"); open != 1 {
			return errors.New("it is not")
		}
		return nil
	})
}

func deletedByWatch(r *run) {
	r.server.lie(watch, "", func(c *call, _ func() ([]byte, error)) ([]byte, error) {
		for v := range r.storage.Volumes() {
			gone := message(volumeOf(v.GetId()), number(volumeState, 9))
			if err := c.send(event(gone)); err != nil {
				return nil, err
			}
		}
		return nil, c.hang()
	})
	r.server.listener.cut()
	time.Sleep(2 * time.Second)
}

// flood sends events as fast as they are taken.
func flood(of func(i int) wire) func(r *run) {
	return func(r *run) {
		r.server.lie(watch, "", func(c *call, _ func() ([]byte, error)) ([]byte, error) {
			for i := 0; ; i++ {
				if err := c.send(event(of(i))); err != nil {
					return nil, err
				}
				select {
				case <-c.ended:
					return nil, c.hang()
				default:
				}
			}
		})
		r.server.listener.cut()
		time.Sleep(2 * time.Second)
	}
}

func flood3(r *run) {
	fat := message(volumeOf("77"), text(2000, make([]byte, 3<<20)))
	flood(func(int) wire { time.Sleep(50 * time.Millisecond); return fat })(r)
}

// floodOfOurs says of a volume that it is here, and there, and here.
func floodOfOurs(r *run) {
	handle := r.volume("flooded", at(node(1)))
	r.knows(handle)
	whileFaulty(flood(func(i int) wire {
		if i%100 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		return volumeOf(handle, r.storageID(node(i%3+1)))
	}))(r)
	r.measured("inspected %d times", r.server.countOf(handle))
	if n := r.server.countOf(handle); n > 1500 {
		r.Fatalf("the volume was inspected %d times", n)
	}
	r.arrives(r.create(strict(r.pod("flooded", "flooded"))).on(node(1)), soon)
}

func rotated(r *run) {
	r.must(r.newToken(fmt.Sprintf("rotated-%d", r.runs)))
	begun := time.Now()
	r.eventually(soon, "calls carry the new token", func() error {
		if !r.server.bearerSeen(r.token) {
			return errNotYet
		}
		return nil
	})
	r.measured("after %.1f s", time.Since(begun).Seconds())
}

// tokenIs replaces the token file, and waits until it has been read.
func tokenIs(content string) func(r *run) {
	return func(r *run) {
		good := r.token
		r.later(func() { r.must(writeFile(r.tokenFile(), []byte(good))) })
		r.must(writeFile(r.tokenFile(), []byte(content)))
		r.problem("StorageTokenUnreadable")
	}
}

// fatToken may be told as unreadable, or as a server that does not take it.
func fatToken(r *run) {
	good := r.token
	r.later(func() { r.must(writeFile(r.tokenFile(), []byte(good))) })
	r.must(writeFile(r.tokenFile(), bytes.Repeat([]byte("x"), 64<<20)))
	r.eventually(later, "the metrics tell of a problem", func() error {
		if told, _ := r.metrics().Sum("scheduler_hyperconverge_storage_problem"); told == 0 {
			return errNotYet
		}
		return nil
	})
}

func tokenGone(r *run) {
	good := r.token
	r.later(func() { r.must(writeFile(r.tokenFile(), []byte(good))) })
	r.must(syscall.Unlink(r.tokenFile()))
	r.problem("StorageTokenUnreadable")
}

// problem waits until the scheduler tells of a problem with storage.
func (r *run) problem(reason string) {
	r.eventually(later, "the metrics tell of "+reason, func() error {
		if told, _ := r.metrics().Sum("scheduler_hyperconverge_storage_problem", "reason", reason); told != 1 {
			return errNotYet
		}
		return nil
	})
}

// hang makes the token file a pipe that nobody writes into: whoever opens it waits.
func (r *run) hangTokenFile() {
	good := r.token
	pipe := r.dir.Join("pipe")
	r.must(syscall.Mkfifo(pipe, 0o600))
	r.must(syscall.Rename(pipe, r.tokenFile()))
	r.later(func() {
		// Those who wait in the pipe get an end; the file is the token again.
		r.must(syscall.Rename(r.tokenFile(), pipe))
		r.must(writeFile(r.tokenFile(), []byte(good)))
		if fd, err := syscall.Open(pipe, syscall.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = syscall.Close(fd)
		}
		_ = syscall.Unlink(pipe)
	})
}

func hungToken(r *run) {
	r.hangTokenFile()
	time.Sleep(7 * time.Second) // the file is read every five seconds
	r.server.forget()
	time.Sleep(2 * time.Second)
	r.measured("%d lists of nodes in two seconds", r.server.count(listNodes))
	if r.server.count(listNodes) < 2 {
		r.Fatalf("the nodes are listed no more")
	}
	whileFaulty(func(*run) {})(r)
}

// certificate gives the storage server another one.
func certificate(name string, lasts time.Duration) func(r *run) {
	return func(r *run) {
		good := r.server.certificate.Load()
		pair, err := r.authority.pair(name, time.Now().Add(lasts))
		r.must(err)
		r.server.certificate.Store(pair)
		r.later(func() {
			r.server.certificate.Store(good)
			r.server.listener.cut()
		})
		r.server.listener.cut()
	}
}

func otherAuthority(announced bool) func(r *run) {
	return func(r *run) {
		other, err := newAuthority()
		r.must(err)
		pair, err := other.pair(storageName, time.Now().Add(time.Hour))
		r.must(err)
		good := r.server.certificate.Load()
		r.later(func() {
			r.must(writeFile(r.caFile(), r.authority.pem()))
			r.server.certificate.Store(good)
			r.server.listener.cut()
		})
		if announced {
			r.must(writeFile(r.caFile(), other.pem()))
		}
		r.server.certificate.Store(pair)
		r.server.listener.cut()
		time.Sleep(500 * time.Millisecond)
		r.server.forget()
		if announced {
			r.eventually(soon, "the nodes are listed", func() error {
				if r.server.count(listNodes) == 0 {
					return errNotYet
				}
				return nil
			})
			return
		}
		time.Sleep(3 * time.Second)
		if r.server.count(listNodes) > 0 {
			r.Fatalf("calls went to a server that nobody trusts")
		}
	}
}

func brokenAuthorities(r *run) {
	r.must(writeFile(r.caFile(), []byte("-----BEGIN CERTIFICATE-----\nbroken\n")))
	r.later(func() {
		r.must(writeFile(r.caFile(), r.authority.pem()))
		r.server.listener.cut()
	})
	r.server.listener.cut()
}
