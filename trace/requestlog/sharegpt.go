package requestlog

import (
	"fmt"
	"strconv"
)

// maxConversation is the largest number of turns of a conversation.
const maxConversation = 10_000

// conversations reads chats: objects with an id and a list of messages, as in
// https://huggingface.co/datasets/anon8231489123/ShareGPT_Vicuna_unfiltered, or with
// role and content instead of from and value. Each message of the assistant is the
// output of a request, with all messages before it as its prompt.
type conversations struct {
	objects
	l      *Log
	text   *text
	read   int   // conversations
	queue  []row // requests of the current conversation
	hashed int   // prefix hashes of these requests together
}

func openShareGPT(l *Log, f *file, o Options) (source, error) {
	j := newJSONReader(f)
	l.Timed = false
	l.PrefixBlockTokens = textBlock
	return &conversations{objects: objects{j: j}, l: l, text: newText(j, o)}, nil
}

func (s *conversations) next() (row, error) {
	for len(s.queue) == 0 {
		if err := s.objects.next(s.conversation); err != nil {
			return row{}, err
		}
	}
	r := s.queue[0]
	s.queue = s.queue[1:]
	return r, nil
}

func (s *conversations) conversation(at position) error {
	s.text.reset()
	s.queue, s.hashed = nil, 0
	s.read++
	id, chats := "", 0
	err := s.j.object(func(name []byte) error {
		switch string(name) {
		case "id", "conversation_id", "conversation_hash":
			if null, err := s.j.null(); null || err != nil {
				return err
			}
			var err error
			id, err = s.j.label()
			return inMember("id", err)
		case "conversations", "conversation", "messages":
			if chats++; chats > 1 {
				return s.j.position().fail(fmt.Errorf("a second list of messages"))
			}
			return s.j.array(s.message)
		case "model":
			if c, err := s.j.peek(); err == nil && c == '"' {
				model, err := s.j.label()
				s.l.setModel(model)
				return err
			}
		}
		return s.j.skip()
	})
	if err != nil {
		return err
	}
	if chats == 0 {
		return at.fail(fmt.Errorf("conversations is missing"))
	}
	if id == "" {
		id = "conversation " + strconv.Itoa(s.read)
	}
	for i := range s.queue {
		s.queue[i].Session = id
	}
	return nil
}

func (s *conversations) message() error {
	before, hashes := s.text.units, len(s.text.hashes)
	at := s.j.position()
	role, err := s.text.message()
	if err != nil {
		return err
	}
	switch role {
	case "gpt", "assistant", "chatgpt", "bing", "bard", "model", "bot":
	default:
		return nil
	}
	if len(s.queue) == maxConversation {
		return at.fail(fmt.Errorf("a conversation of more than %d turns", maxConversation))
	}
	if s.hashed += hashes; s.hashed > windowHashes {
		return at.fail(fmt.Errorf("a conversation whose turns have more than %d prefix hashes together", windowHashes))
	}
	r := row{line: at.line}
	r.PromptTokens = s.text.tokensOf(before)
	r.OutputTokens = s.text.tokensOf(s.text.units - before)
	r.PrefixHashes = s.text.hashes[:hashes:hashes]
	r.how = s.text.how()
	s.queue = append(s.queue, r)
	return nil
}

// setModel stores the model's name from the first request that has one.
func (l *Log) setModel(name string) {
	if l.Model == "" && len(name) <= maxModel {
		l.Model = name
	}
}
