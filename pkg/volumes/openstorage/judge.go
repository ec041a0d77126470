package openstorage

import (
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/status"
)

// reached sorts the outcome of a call, and keeps the crowd away while storage as a
// whole is not there. That a single call fails or takes too long may be the fault
// of the volume that it asks for.
func (s *Source) reached(err error) kind {
	k := kindOf(err)
	switch {
	case k == answered, k == absent:
		if s.gate.open() {
			s.settleSoon()
		}
	case k == unreachable, s.nodesRefused.Load(), s.problems.has(ReasonUnreachable):
		s.gate.shut()
	}
	return k
}

// judge says in which way the storage API as a whole fails. It takes the outcome
// of the node poll, which tells of no single object.
func (s *Source) judge(k kind, err error) {
	if k != answered && k != refused {
		s.problems.set(ReasonUnreachable, fmt.Sprintf("%s does not list its nodes: %s. What was known last is used for now.",
			s.config.Endpoint, status.Convert(err).Message()))
		return
	}
	if s.problems.clear(ReasonUnreachable) {
		s.settleSoon()
	}
	s.judgeToken(&s.nodesRefused, k, err)
}

// judgeToken takes the outcome of one of the two calls that tell whether the token
// is good.
func (s *Source) judgeToken(refusedNow *atomic.Bool, k kind, err error) {
	switch k {
	case refused:
		refusedNow.Store(true)
		s.problems.set(ReasonTokenRefused, s.refusal(err))
	case answered:
		refusedNow.Store(false)
		if !s.nodesRefused.Load() && !s.listRefused.Load() && s.problems.clear(ReasonTokenRefused) {
			s.rightsGained()
		}
	}
}

func (s *Source) refusal(err error) string {
	remedy := "no tokenFile is configured"
	if s.config.TokenFile != "" {
		remedy = fmt.Sprintf("the token in %s must be valid, and have role system.view or system.admin and group *", s.config.TokenFile)
	}
	return fmt.Sprintf("%s refuses the scheduler: %s; %s.", s.config.Endpoint, status.Convert(err).Message(), remedy)
}

func (s *Source) tokenTrouble(err error) {
	if err == nil {
		s.problems.clear(ReasonTokenUnreadable)
		return
	}
	s.problems.set(ReasonTokenUnreadable, err.Error()+". The token read last is used, if there is one.")
}

// tellInvalidText takes one text that storage sent and that is not UTF-8, as it is
// taken, and the field that has it.
func (s *Source) tellInvalidText(where, text string) {
	s.invalidText.Store(time.Now().UnixNano())
	s.problems.set(ReasonInvalidText, fmt.Sprintf("%s sends text that is not UTF-8, in %s: %.64q. "+
		"It is taken as it stands here, and matches nothing else; correct it in the storage system.", s.config.Endpoint, where, text))
}

// forgetInvalidText ends the problem when every volume and node has been sent
// without.
func (s *Source) forgetInvalidText() {
	if at := s.invalidText.Load(); at != 0 && time.Since(time.Unix(0, at)) > s.config.ResyncInterval {
		s.problems.clear(ReasonInvalidText)
	}
}

// rightsGained is called when a problem is over that a token without rights may
// have made. What it did not show is asked for, and shown by a new watch.
func (s *Source) rightsGained() {
	s.settleSoon()
	s.lookSoon()
	s.reopenSoon()
}
