// hamba/avro as a peer: see `peers.py` for the protocol.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"

	"github.com/hamba/avro/v2"
)

type asked struct {
	Schema string   `json:"schema"`
	Data   []string `json:"data"`
}

func main() {
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		answer, err := json.Marshal(answer(line))
		if err != nil {
			panic(err)
		}
		out.Write(append(answer, '\n'))
		out.Flush()
	}
}

func answer(line []byte) map[string]any {
	var request asked
	if err := json.Unmarshal(line, &request); err != nil {
		panic(err)
	}
	// Names are global by default: each schema has its own here.
	schema, err := avro.ParseBytesWithCache([]byte(request.Schema), "", &avro.SchemaCache{})
	if err != nil {
		return map[string]any{"refused": fmt.Sprintf("%.200s", err)}
	}
	api := avro.Config{MaxSliceAllocSize: 1 << 20}.Freeze()
	results := make([]any, len(request.Data))
	for at, data := range request.Data {
		bytes, err := hex.DecodeString(data)
		if err != nil {
			panic(err)
		}
		results[at] = judge(api, schema, bytes)
	}
	return map[string]any{"results": results}
}

// Unmarshal says nothing of bytes behind the datum: this is what it does, and then a look at what is left.
func judge(api avro.API, schema avro.Schema, data []byte) any {
	reader := avro.NewReader(nil, 0, avro.WithReaderConfig(api)).Reset(data)
	value, panicked := read(reader, schema)
	if panicked {
		return "reject"
	}
	if reader.Error != nil {
		if errors.Is(reader.Error, io.EOF) {
			return map[string]any{"value": map[string]any{"?": nil}}
		}
		return "reject"
	}
	reader.Peek()
	if reader.Error == nil {
		return "trailing"
	}
	return map[string]any{"value": shown(schema, value)}
}

func read(reader *avro.Reader, schema avro.Schema) (value any, panicked bool) {
	defer func() { panicked = recover() != nil }()
	reader.ReadVal(schema, &value)
	return value, false
}

func shown(schema avro.Schema, value any) any {
	switch schema := schema.(type) {
	case *avro.RefSchema:
		return shown(schema.Schema(), value)
	case *avro.RecordSchema:
		fields := value.(map[string]any)
		values := make([]any, len(schema.Fields()))
		for at, field := range schema.Fields() {
			values[at] = shown(field.Type(), fields[field.Name()])
		}
		return map[string]any{"#": values}
	case *avro.ArraySchema:
		items := value.([]any)
		values := make([]any, len(items))
		for at, item := range items {
			values[at] = shown(schema.Items(), item)
		}
		return values
	case *avro.MapSchema:
		values := map[string]any{}
		for key, inner := range value.(map[string]any) {
			values[hex.EncodeToString([]byte(key))] = shown(schema.Values(), inner)
		}
		return values
	case *avro.UnionSchema:
		// By the branch's name, but where Go has a type for each branch.
		wrapped, _ := value.(map[string]any)
		for word, inner := range wrapped {
			branch, _ := schema.Types().Get(word)
			return shown(branch, inner)
		}
	case *avro.FixedSchema:
		array := reflect.ValueOf(value)
		bytes := make([]byte, array.Len())
		reflect.Copy(reflect.ValueOf(bytes), array)
		return "x" + hex.EncodeToString(bytes)
	}
	switch value := value.(type) {
	case nil:
		if schema.Type() == avro.Bytes {
			return "x"
		}
		return nil
	case bool:
		return value
	case int, int64:
		return fmt.Sprint(value)
	case float32:
		return number(float64(value))
	case float64:
		return number(value)
	case []byte:
		return "x" + hex.EncodeToString(value)
	case string:
		return "s" + hex.EncodeToString([]byte(value))
	}
	// Its type for null is its own.
	return nil
}

func number(value float64) string {
	if math.IsNaN(value) {
		return "nan"
	}
	return fmt.Sprintf("n%016x", math.Float64bits(value))
}
