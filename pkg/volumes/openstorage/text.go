package openstorage

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// textCodec is the codec of gRPC, but for text that is not UTF-8. Protocol buffers
// turn down the whole message that has some: one label would end the watch, or the
// list of all nodes, for good. Such text is escaped, so that names that differ still
// do, and reported.
type textCodec struct {
	encoding.CodecV2
	// invalid gets the field and the text as it is taken.
	invalid func(where, text string)
}

func newTextCodec(invalid func(where, text string)) textCodec {
	return textCodec{CodecV2: encoding.GetCodecV2(grpcproto.Name), invalid: invalid}
}

// Unmarshal implements encoding.CodecV2.
func (c textCodec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	message, ok := v.(proto.Message)
	if !ok {
		return err
	}
	var e escaper
	escaped := e.message(data.Materialize(), message.ProtoReflect().Descriptor(), 0)
	if e.where == "" {
		return err // that is not what is wrong
	}
	if err := proto.Unmarshal(escaped, message); err != nil {
		return err
	}
	c.invalid(e.where, e.text)
	return nil
}

// maxNesting ends the descent into messages within messages. Those of the SDK have
// fewer levels.
const maxNesting = 16

// escaper rewrites messages in wire format. It remembers the first text that was not
// UTF-8.
type escaper struct{ where, text string }

// message returns the message with all text escaped that is not UTF-8. What is no
// message is left to the decoder.
func (e *escaper) message(data []byte, descriptor protoreflect.MessageDescriptor, nesting int) []byte {
	out := make([]byte, 0, len(data))
	for len(data) > 0 {
		number, wireType, tag := protowire.ConsumeTag(data)
		if tag < 0 {
			break
		}
		length := protowire.ConsumeFieldValue(number, wireType, data[tag:])
		if length < 0 {
			break
		}
		field := descriptor.Fields().ByNumber(number)
		if wireType == protowire.BytesType && field != nil {
			value, _ := protowire.ConsumeBytes(data[tag:])
			out = append(out, data[:tag]...)
			out = protowire.AppendBytes(out, e.value(value, field, nesting))
		} else {
			out = append(out, data[:tag+length]...)
		}
		data = data[tag+length:]
	}
	return append(out, data...)
}

func (e *escaper) value(value []byte, field protoreflect.FieldDescriptor, nesting int) []byte {
	switch {
	case field.Kind() == protoreflect.MessageKind && nesting < maxNesting:
		return e.message(value, field.Message(), nesting+1)
	case field.Kind() != protoreflect.StringKind || utf8.Valid(value):
		return value
	}
	text := escape(value)
	if e.where == "" {
		e.where, e.text = string(field.FullName()), text
	}
	return []byte(text)
}

// escape writes the bytes that are no UTF-8 as \xNN.
func escape(value []byte) string {
	var text strings.Builder
	for len(value) > 0 {
		r, size := utf8.DecodeRune(value)
		if r == utf8.RuneError && size == 1 {
			fmt.Fprintf(&text, `\x%02x`, value[0])
		} else {
			text.Write(value[:size])
		}
		value = value[size:]
	}
	return text.String()
}
