// shop.proto in the shape that grpc-tools writes its messages (google-protobuf).
const jspb = require("google-protobuf");

function message(fields) {
  const Message = function (data) {
    jspb.Message.initialize(this, data, 0, -1, null, null);
  };
  Object.setPrototypeOf(Message.prototype, jspb.Message.prototype);
  fields.forEach((name, i) => {
    const accessor = name[0].toUpperCase() + name.slice(1);
    Message.prototype[`get${accessor}`] = function () {
      return jspb.Message.getFieldWithDefault(this, i + 1, "");
    };
    Message.prototype[`set${accessor}`] = function (value) {
      return jspb.Message.setProto3StringField(this, i + 1, value);
    };
  });
  Message.prototype.serializeBinary = function () {
    const writer = new jspb.BinaryWriter();
    fields.forEach((name, i) => {
      const value = this[`get${name[0].toUpperCase()}${name.slice(1)}`]();
      if (value.length > 0) writer.writeString(i + 1, value);
    });
    return writer.getResultBuffer();
  };
  Message.deserializeBinary = (bytes) => {
    const reader = new jspb.BinaryReader(bytes);
    const made = new Message();
    while (reader.nextField() && !reader.isEndGroup()) {
      const name = fields[reader.getFieldNumber() - 1];
      if (name === undefined) reader.skipField();
      else made[`set${name[0].toUpperCase()}${name.slice(1)}`](reader.readString());
    }
    return made;
  };
  return Message;
}

exports.ById = message(["id"]);
exports.Order = message(["id", "owner"]);
