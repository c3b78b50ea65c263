-- Announces every complete series of images to certrad. Add the path of this file to `LuaScripts` in Orthanc's
-- configuration. docs/pacs.md explains it.

-- Settings: where certrad listens, and the secret that its CERTRAD_TRIGGER_SECRET holds, or the first line of the file
-- that CERTRAD_TRIGGER_SECRET_FILE names. The variables of the environment of Orthanc decide; without them, what is
-- written here.
local URL = os.getenv('CERTRAD_TRIGGER_URL') or 'http://127.0.0.1:8000/triggers/orthanc'
local SECRET = os.getenv('CERTRAD_TRIGGER_SECRET') or ''
local SECRET_FILE = os.getenv('CERTRAD_TRIGGER_SECRET_FILE')
if SECRET_FILE then
  local file = assert(io.open(SECRET_FILE))
  SECRET = file:read('*l')
  file:close()
end

-- Reports and other objects without an image. certrad stores reports itself, and this list saves the calls for them.
-- certrad ignores more kinds of objects than these, and knows its own reports and pictures by their identifiers.
local NEVER = {SR = true, SEG = true, PR = true, KO = true}

function OnStableSeries(seriesId, tags, metadata)
  local modality = tags['Modality'] or ''
  if NEVER[modality] then
    return
  end

  local series = ParseJson(RestApiGet('/series/' .. seriesId))
  local study = ParseJson(RestApiGet('/studies/' .. series['ParentStudy']))
  local trigger = {
    event = 'OnStableSeries',
    orthanc_series = seriesId,
    study_instance_uid = study['MainDicomTags']['StudyInstanceUID'],
    series_instance_uid = series['MainDicomTags']['SeriesInstanceUID'],
    modality = modality
  }

  -- certrad stores the trigger and answers at once. Orthanc tries once only: a trigger that is lost here is found
  -- again by certrad in Orthanc's list of changes, if CERTRAD_ORTHANC_URL is set.
  local answer = HttpPost(URL, DumpJson(trigger, true), {
    ['Content-Type'] = 'application/json',
    ['Certrad-Trigger-Secret'] = SECRET
  })
  if answer == nil or answer == '' then
    print('certrad did not take the trigger of a series')
  end
end
