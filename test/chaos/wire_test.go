package chaos

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of the fields that rows lie about, from the storage system's api.proto.
const (
	fieldVolume protowire.Number = 1 // of an answer to Inspect
	fieldEvent  protowire.Number = 1 // of a message of the watch
	fieldNode   protowire.Number = 1 // of a list of nodes

	volumeID       protowire.Number = 1
	volumeLocator  protowire.Number = 5
	volumeSpec     protowire.Number = 7
	volumeState    protowire.Number = 12
	volumeAttached protowire.Number = 13
	volumeSet      protowire.Number = 19
	volumeTrashcan protowire.Number = 32

	specProxy    protowire.Number = 41 // whose first field is the protocol
	locatorName  protowire.Number = 1
	setNode      protowire.Number = 1
	nodeID       protowire.Number = 1
	nodeStatus   protowire.Number = 7
	nodeHostname protowire.Number = 15
)

// wire is a message as it goes over the network, right or wrong.
type wire []byte

// message puts parts one after the other.
func message(parts ...wire) wire {
	var joined wire
	for _, part := range parts {
		joined = append(joined, part...)
	}
	return joined
}

// text is a field of text, or of a message.
func text[T ~string | ~[]byte](number protowire.Number, value T) wire {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), []byte(value))
}

// number is a field of a number, a truth value or an enum.
func number(field protowire.Number, value uint64) wire {
	return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), value)
}

// volumeOf is a volume with one replica set on these storage nodes.
func volumeOf(id string, nodes ...string) wire {
	set := wire{}
	for _, node := range nodes {
		set = append(set, text(setNode, node)...)
	}
	return message(text(volumeID, id), text(volumeLocator, text(locatorName, "volume-"+id)), text(volumeSet, set))
}

// inspected is the answer to Inspect.
func inspected(volume wire) wire { return text(fieldVolume, volume) }

// event is a message of the watch. Its volume stands one level deeper.
func event(volume wire) wire { return text(fieldEvent, text(1, volume)) }

// requested is the text in the first field of a request, such as the id of the
// volume that Inspect asks for.
func requested(request []byte) string {
	number, kind, n := protowire.ConsumeTag(request)
	if n < 0 || number != 1 || kind != protowire.BytesType {
		return ""
	}
	value, m := protowire.ConsumeBytes(request[n:])
	if m < 0 {
		return ""
	}
	return string(value)
}
